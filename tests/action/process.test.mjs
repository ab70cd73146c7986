import assert from "node:assert/strict"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { test } from "node:test"
import { actionName, defaultImage } from "../../action/action-name.mjs"
import { isAlive, startOf } from "../../action/alive.mjs"
import { explained, platforms, withPip } from "../../action/packages.mjs"
import { findPython } from "../../action/python.mjs"
import { remove } from "../../action/record.mjs"
import { Failure } from "../../action/runner.mjs"
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

test("of an installation that failed the reason is told, and what to do about that", () => {
  const [none, set] = [{}, { PIP_INDEX_URL: "https://me:secret@index.test/simple" }]
  for (const [said, environment, told] of [
    ["ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", set, /disk of RUNNER_TEMP is full.*Free some space$/],
    ["error: Failed to write: No space left on device (os error 28)", none, /disk of RUNNER_TEMP is full/],
    ["ERROR: THESE PACKAGES DO NOT MATCH THE HASHES\n    yarl==1.2 from https://x:\n", set, /^yarl does not match its hash in the lock/],
    ["error: Failed to download `idna==3.1`\n  Caused by: Hash mismatch for `idna==3.1`", none, /^idna does not match its hash in the lock/],
    ["ERROR: No matching distribution found for yarl==1.2.", none, /for yarl==1\.2\. Set PIP_INDEX_URL to an index that this machine reaches, or use/],
    ["ERROR: No matching distribution found for yarl==1.2", set, /1\.2\. See whether this machine reaches the index index\.test and whether the package is in it, or/],
    ["", none, /^it says nothing\. Set PIP_INDEX_URL/],
  ]) {
    assert.match(explained(said, environment), told)
    assert.doesNotMatch(explained(said, environment), /secret/)
  }
})

test("a Python that has no pip, and cannot make one, is told with its reason", async () => {
  const folder = mkdtempSync(join(tmpdir(), "pythons-"))
  const path = join(folder, "python3")
  writeFileSync(path, "#!/bin/sh\necho 'ensurepip is not available.' >&2\nexit 1\n", { mode: 0o755 })
  await assert.rejects(withPip({ path, pip: false, glibc: "" }, folder), new Failure(`${path} has no pip, and cannot make one: ensurepip is not available`))
  rmSync(folder, { recursive: true })
})

test("the default image is the one beside the action, by the name under which it was used", () => {
  assert.match(defaultImage({ GITHUB_ACTION_REPOSITORY: "Octo-Org/Image-Relay" }), /^ghcr\.io\/octo-org\/image-relay:\d+\.\d+\.\d+$/)
  assert.equal(defaultImage({ GITHUB_ACTION_REPOSITORY: "" }), "")
  assert.equal(defaultImage({}), "")
})

test("the relay is told the name by which its action was used", () => {
  const environment = { GITHUB_ACTION_REPOSITORY: "octo/image-relay", GITHUB_ACTION_REF: "v2" }
  assert.equal(actionName(environment), "octo/image-relay@v2")
  assert.equal(settings({}, environment).IMAGE_RELAY_ACTION, "octo/image-relay@v2")
  assert.equal(actionName({ GITHUB_ACTION_REPOSITORY: "" }), "") // uses: ./
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
  const upstreams = settings({ upstreams: "docker.io", upstreamAuth: "docker.io=u:p" }, { RELAY_UPSTREAMS: "ghcr.io" })
  assert.deepEqual([upstreams.RELAY_UPSTREAMS, upstreams.RELAY_UPSTREAM_AUTH], ["ghcr.io", "docker.io=u:p"])
  assert.deepEqual(pick({ A: "1", B: "", C: "3" }, ["A", "B", "D"]), { A: "1" })
})

/** Make programs that say of themselves what a Python would: name, version, without a lock, pip, ensurepip. */
function machine(programs) {
  const root = mkdtempSync(join(tmpdir(), "pythons-"))
  for (const [path, said] of Object.entries(programs)) {
    mkdirSync(join(root, path, ".."), { recursive: true })
    writeFileSync(join(root, path), `#!/bin/sh\necho ${said}\n`, { mode: 0o755 })
  }
  const found = async (withUv = false) => {
    const python = await findPython(withUv, { PATH: join(root, "bin"), RUNNER_TOOL_CACHE: join(root, "cache") }, [join(root, "usr")])
    return python.path.slice(root.length + 1)
  }
  return { found, end: () => rmSync(root, { recursive: true }) }
}

for (const [what, programs, withUv, expected] of [
  ["the first on PATH", { "bin/python3": "cpython 3 12 0 1 1", "usr/python3": "cpython 3 11 0 1 1" }, false, "bin/python3"],
  ["one of the tool cache, the newest", { "bin/python3": "cpython 3 9 0 1 1", "cache/Python/3.9.20/x64/bin/python3": "cpython 3 9 0 1 1",
    "cache/Python/3.12.1/x64/bin/python3": "cpython 3 12 0 1 1", "cache/Python/3.13.0/x64/bin/python3": "cpython 3 13 0 1 1" }, false,
    "cache/Python/3.13.0/x64/bin/python3"],
  ["the system's, where PATH has a newer one than the lock", { "bin/python3": "cpython 3 15 0 1 1", "usr/python3": "cpython 3 11 0 1 1" }, false,
    "usr/python3"],
  ["no PyPy, and none without a lock", { "bin/python3": "pypy 3 11 0 1 1", "bin/python": "cpython 3 14 1 1 1", "usr/python3": "cpython 3 14 0 1 1" },
    false, "usr/python3"],
  ["one with pip before one that could make it", { "bin/python3": "cpython 3 13 0 0 1", "usr/python3": "cpython 3 11 0 1 1" }, false, "usr/python3"],
  ["one that can make pip before none", { "bin/python3": "cpython 3 13 0 0 0", "usr/python3": "cpython 3 11 0 0 1" }, false, "usr/python3"],
  ["any that fits, with uv", { "bin/python3": "cpython 3 13 0 0 0" }, true, "bin/python3"],
]) {
  test(`a Python for the process: ${what}`, async () => {
    const { found, end } = machine(programs)
    assert.equal(await found(withUv), expected)
    end()
  })
}

test("pip is told the platforms of wheels where they are known", () => {
  assert.deepEqual(platforms("2.39", "arm64").filter((each) => each !== "--platform"), [
    "manylinux_2_28_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64",
  ])
  assert.equal(platforms("2.28", "x64").length, 6)
  for (const [glibc, arch] of [["", "x64"], ["2.27", "x64"], ["2.39", "riscv64"]]) assert.deepEqual(platforms(glibc, arch), [])
})

test("a machine without a Python that fits is told what there is", async () => {
  const { found, end } = machine({ "bin/python3": "cpython 3 9 0 1 1", "usr/python3": "cpython 3 13 0 0 0" })
  await assert.rejects(found(), /needs CPython 3\.11 to 3\.14 with pip \(or uv\); there is .*\(cpython 3\.9\), .*\(cpython 3\.13\)/)
  end()
})

test("a folder goes although somebody writes to it for a moment longer", async () => {
  const folder = mkdtempSync(join(tmpdir(), "relay-"))
  mkdirSync(join(folder, "inside"))
  const count = "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); : >inside/$i; done 2>/dev/null"
  const writing = spawn("sh", ["-c", `echo begun; ${count}`], { cwd: folder })
  await once(writing.stdout, "data")
  remove(folder)
  assert.ok(!existsSync(folder))
  writing.kill("SIGKILL")
})
