import assert from "node:assert/strict"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { test } from "node:test"
import { defaultImage } from "../../action/action-name.mjs"
import { isAlive, startOf } from "../../action/alive.mjs"
import { pick, settings } from "../../action/settings.mjs"

for (const [system, proc] of [["Linux", "/proc"], ["a system without /proc", "/nowhere"]]) {
  test(`on ${system}, a process is known by its number and the time of its start`, async () => {
    const child = spawn("sleep", ["60"])
    const started = startOf(child.pid, proc)
    assert.ok(started)
    assert.ok(isAlive({ pid: child.pid, started }, proc))
    assert.ok(!isAlive({ pid: child.pid, started: `${started}0` }, proc))
    child.kill("SIGKILL")
    await once(child, "exit")
    assert.ok(!isAlive({ pid: child.pid, started }, proc))
    assert.ok(!isAlive({ pid: child.pid, started: undefined }, proc))
  })
}

test("the default image is the one beside the action, by the name under which it was used", () => {
  assert.match(defaultImage({ GITHUB_ACTION_REPOSITORY: "Octo-Org/Image-Relay" }), /^ghcr\.io\/octo-org\/image-relay:\d+\.\d+\.\d+$/)
  assert.equal(defaultImage({ GITHUB_ACTION_REPOSITORY: "" }), "")
  assert.equal(defaultImage({}), "")
})

test("settings of the workflow are passed on, and nothing else of the environment but proxies", () => {
  const environment = { RELAY_OVERWRITE: "run", RELAY_PORT: "1", RELAY_PASSWORD: "p", https_proxy: "http://proxy", NO_PROXY: "", TOKEN: "t" }
  assert.deepEqual(settings({ retentionDays: 2 }, environment), {
    RELAY_OVERWRITE: "run",
    https_proxy: "http://proxy",
    RELAY_RETENTION_DAYS: "2",
    RELAY_STORE: "actions",
  })
  assert.equal(settings({ retentionDays: 2 }, { RELAY_RETENTION_DAYS: "9" }).RELAY_RETENTION_DAYS, "9")
  assert.deepEqual(pick({ A: "1", B: "", C: "3" }, ["A", "B", "D"]), { A: "1" })
})
