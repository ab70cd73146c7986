import assert from "node:assert/strict"
import { test } from "node:test"
import { checkPassword, ineffective } from "../../action/later-use.mjs"
import { reasons } from "../../action/relay.mjs"
import { privateHost } from "../../action/remote.mjs"
import { Failure } from "../../action/runner.mjs"
import { checkVariables } from "../../action/settings.mjs"

const SERVICE = { started: false, alias: "relay", environment: ["RELAY_STORE=actions"] }
const OPEN = { started: true, alias: "image-relay", environment: ["RELAY_OVERWRITE=run"] }
const CLOSED = { ...OPEN, environment: ["RELAY_PASSWORD=secret", "RELAY_RETENTION_DAYS=9"] }

test("a setting that was mistyped is refused with the one that is meant, whoever runs already", () => {
  assert.throws(() => checkVariables({ RELAY_OVERWRTE: "run" }), new Failure("RELAY_OVERWRTE is not a setting of image-relay; did you mean RELAY_OVERWRITE?"))
  assert.throws(() => checkVariables({ RELAY_PASSWROD: "x", RELAY_LOGLEVEL: "debug" }), /RELAY_PASSWORD\? .*RELAY_LOG_LEVEL\?/)
  checkVariables({ RELAY_OVERWRITE: "run", RELAY_SERVICE_HOST: "10.0.0.1", RELAY_PORT_5000_TCP_ADDR: "10.0.0.1", RELAY_RACE_RUNNERS: "4" })
})

test("the run of a relay that takes no session is refused with what reads another run in a job", () => {
  assert.throws(() => checkVariables({ RELAY_RUN_ID: "7" }), /RELAY_RUN_ID is for a relay without this action, .*use the input from$/)
})

test("a password that the relay of an earlier step does not have is refused with what to do", () => {
  assert.throws(() => checkPassword(OPEN, "auto"), /started the relay of this job without one, .*set password in the first use of this action/)
  assert.throws(() => checkPassword(OPEN, "secret"), /without one/)
  assert.throws(() => checkPassword(CLOSED, "another"), /with another one; leave password out here/)
  for (const [found, wanted] of [[OPEN, ""], [CLOSED, ""], [CLOSED, "auto"], [CLOSED, "secret"], [SERVICE, "of the service"]]) checkPassword(found, wanted)
  assert.throws(() => checkPassword(SERVICE, "auto"), /the service relay has its own: set RELAY_PASSWORD/)
})

test("what has no effect any more is answered with where it belongs", () => {
  assert.deepEqual(ineffective(OPEN, {}, { RELAY_OVERWRITE: "run", RELAY_PORT: "5001", RELAY_RACE: "x" }), [])
  assert.deepEqual(ineffective(OPEN, { waitPull: "10m" }, { RELAY_OVERWRITE: "job" }), [
    "wait-pull has no effect here: the relay runs already; set RELAY_WAIT in the env of the first step that uses this action",
    "RELAY_OVERWRITE has no effect here: the relay runs already; set RELAY_OVERWRITE in the env of the first step that uses this action",
  ])
  assert.match(ineffective(SERVICE, {}, { RELAY_LOG_LEVEL: "debug" })[0], /set RELAY_LOG_LEVEL in the env of the service relay$/)
  assert.deepEqual(ineffective({ ...SERVICE, environment: [] }, { waitPull: "1m" }, {}), []) // nobody says how it was started
})

test("a port or an image that comes too late is told", () => {
  const [container, itself] = [{ ...OPEN, port: "5000", image: "relay:1" }, { ...OPEN, port: "41003" }]
  assert.deepEqual(ineffective(container, { port: 5188, image: "relay:2" }, {}), [
    "port has no effect here: the relay runs already, at port 5000",
    "image has no effect here: the relay runs already, as relay:1",
  ])
  assert.deepEqual(ineffective(itself, { port: 5000, image: "relay:1" }, {}), ["image has no effect here: the relay runs already, as a process"])
  for (const inputs of [{ port: 0 }, { port: 41003 }, { port: 5000 }, {}]) assert.deepEqual(ineffective(itself, inputs, {}), [])
  assert.deepEqual(ineffective(container, { port: 5000, image: "relay:1" }, {}), [])
  assert.deepEqual(ineffective({ ...SERVICE, port: "" }, { port: 5005 }, {}), []) // in a job in a container it needs none
})

test("a list that is written otherwise is the same list", () => {
  const found = { ...SERVICE, environment: ["RELAY_UPSTREAMS=a.io b.io", "RELAY_UPSTREAM_AUTH=a.io=u:p b.io=u:p"] }
  assert.deepEqual(ineffective(found, { upstreams: "a.io,b.io", upstreamAuth: "a.io=u:p\nb.io=u:p" }, {}), [])
  assert.equal(ineffective(found, { upstreams: "a.io,c.io", upstreamAuth: "a.io=u:p" }, {}).length, 2)
})

test("images are kept no longer than the relay was told to", () => {
  assert.match(ineffective(OPEN, { retentionDays: 4 }, {})[0], /^retention-days: images are kept for 3 days; .* first step/)
  assert.deepEqual(ineffective(CLOSED, { retentionDays: 9 }, {}), [])
  assert.match(ineffective(CLOSED, {}, { RELAY_RETENTION_DAYS: "10" })[0], /kept for 9 days/)
  assert.deepEqual(ineffective({ ...SERVICE, environment: [] }, { retentionDays: 7 }, {}), []) // it may have been told more
})

test("of the log of a relay that did not start, the reasons are told", () => {
  assert.deepEqual(reasons(["2026 INFO settings", "image-relay: one", "image-relay: two", ""]), ["one", "two"])
})

test("an engine elsewhere is used by a name of a private network alone", async () => {
  for (const [engine, host] of [
    ["tcp://localhost:2376", "localhost"],
    ["tcp://10.1.2.3:2375", "10.1.2.3"],
    ["tcp://[fd00::1]:2375", "fd00::1"],
    ["tcp://8.8.8.8:2375", ""],
    ["ssh://me@10.1.2.3", ""],
    ["tcp://nobody.invalid:2375", ""],
  ]) assert.equal((await privateHost(engine)).replace(/[[\]]/g, ""), host, engine)
})
