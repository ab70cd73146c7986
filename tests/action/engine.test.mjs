import assert from "node:assert/strict"
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { delimiter, join } from "node:path"
import { after, test } from "node:test"
import { EngineAbsent, EngineError, probe } from "../../action/engine.mjs"

const folder = mkdtempSync(join(tmpdir(), "docker-"))
const path = process.env.PATH

after(() => {
  process.env.PATH = path
  rmSync(folder, { recursive: true })
})

/** Let docker say this, and fail. */
function says(text) {
  const command = join(folder, "docker")
  writeFileSync(command, `#!/bin/sh\necho '${text}' >&2\nexit 1\n`)
  chmodSync(command, 0o755)
  process.env.PATH = folder + delimiter + path
}

test("that no engine answers is known in the words of each docker command", async () => {
  for (const text of [
    "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?",
    "failed to connect to the docker API at unix:///var/run/docker.sock; check if the path is correct and if the daemon is running",
    "error during connect: this error may indicate that the docker daemon is not running",
  ]) {
    says(text)
    await assert.rejects(probe(), EngineAbsent, text)
  }
})

test("what an engine refuses is no missing engine", async () => {
  says("Error response from daemon: client version 1.22 is too old")
  await assert.rejects(probe(), (error) => error instanceof EngineError && !(error instanceof EngineAbsent))
})
