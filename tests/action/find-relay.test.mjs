import assert from "node:assert/strict"
import { test } from "node:test"
import { elsewhere } from "../../action/engine.mjs"
import { choose, jobKey, describe } from "../../action/find-relay.mjs"
import { Failure } from "../../action/runner.mjs"

const RELAY = { alias: "relay", port: "5000" }
const SECOND = { alias: "other", port: "5001" }
const INNER = { alias: "relay", port: "" }

/** Describe a container as `docker inspect` does. */
function container({ labels = {}, ports = {}, networks = { n: { IPAddress: "172.18.0.2" } }, running = true } = {}) {
  return {
    Id: "abc",
    Name: "/f00_relay",
    State: { Running: running },
    Config: { Labels: labels, Env: ["A=b"] },
    NetworkSettings: { Ports: ports, Networks: networks },
  }
}

test("without an address the only relay is taken, and none if there is none", () => {
  assert.equal(choose([RELAY], ""), RELAY)
  assert.equal(choose([], ""), undefined)
  assert.throws(() => choose([RELAY, SECOND], ""), /several relays: localhost:5000, localhost:5001\. Set address/)
})

test("an address only chooses among the relays of the job", () => {
  for (const address of ["localhost:5001", "http://localhost:5001", "http://127.0.0.1:5001/x", "[::1]:5001", "OTHER:5000", "other"]) {
    assert.equal(choose([RELAY, SECOND], address), SECOND, address)
  }
  for (const address of ["localhost:5002", "relay.example:5000", "192.0.2.1:5000", "localhost:5000@evil.example", "::", ""].slice(0, 5)) {
    assert.throws(() => choose([RELAY], address), Failure, address)
  }
})

test("a relay without a port is only found by its name", () => {
  assert.equal(choose([INNER], "relay:5000"), INNER)
  assert.throws(() => choose([INNER], "localhost:5000"), /it has: relay:5000/)
})

test("what a container runs is told by the label of its image", () => {
  assert.equal(describe(container(), "relay").isRelay, false)
  assert.equal(describe(container({ labels: null }), "relay").isRelay, false)
  assert.equal(describe(container({ labels: { "org.opencontainers.image.title": "image-relay" } }), "relay").isRelay, true)
})

test("where a container is reached is told by the engine", () => {
  const seen = describe(container({ ports: { "5000/tcp": [{ HostIp: "127.0.0.1", HostPort: "5009" }] } }), "")
  assert.deepEqual([seen.port, seen.hostAddress, seen.addresses, seen.alias], ["5009", "127.0.0.1", ["172.18.0.2"], "f00_relay"])
  const inner = describe(container({ ports: { "5000/tcp": null }, networks: { host: { IPAddress: "" } } }), "relay")
  assert.deepEqual([inner.port, inner.addresses, inner.alias], ["", [], "relay"])
})

test("each job has a key of its own, the same in each of its steps", () => {
  const job = { GITHUB_REPOSITORY: "o/r", GITHUB_RUN_ID: "1", GITHUB_RUN_ATTEMPT: "1", GITHUB_JOB: "build", RUNNER_NAME: "a" }
  assert.equal(jobKey("null", job), jobKey("null", { ...job, GITHUB_ACTION: "another step" }))
  const keys = new Set([
    jobKey("null", job),
    jobKey('{"os":"x"}', job),
    ...Object.keys(job).map((name) => jobKey("null", { ...job, [name]: "2" })),
  ])
  assert.equal(keys.size, 2 + Object.keys(job).length)
})

test("an engine is of this machine by its address, whatever it says of itself", async () => {
  for (const host of ["unix:///var/run/docker.sock", "npipe:////./pipe/docker_engine", "tcp://localhost:2375", "tcp://127.0.0.1:2375", "tcp://[::1]:2375"]) {
    assert.equal(await elsewhere({ DOCKER_HOST: host }), "", host)
  }
  for (const host of ["tcp://build-host:2375", "ssh://me@build-host", "tcp://localhost.evil.example:2375", "tcp://127.0.0.1.evil.example"]) {
    assert.equal(await elsewhere({ DOCKER_HOST: host }), host)
  }
})
