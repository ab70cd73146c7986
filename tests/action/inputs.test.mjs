import assert from "node:assert/strict"
import { test } from "node:test"
import { nextPort, passwords, readInputs } from "../../action/inputs.mjs"
import { Failure } from "../../action/runner.mjs"

function read(inputs) {
  const given = Object.entries({ image: "relay", ...inputs }).map(([name, value]) => [`INPUT_${name.toUpperCase()}`, value])
  return readInputs(Object.fromEntries(given))
}

test("what is left out has the defaults of the action", () => {
  const { port, access, wait, save, load, summary, retentionDays, job } = read({})
  assert.deepEqual([port, access, summary, retentionDays], [5000, "write", true, undefined])
  assert.deepEqual([wait, save, load], [[], [], []])
  assert.deepEqual(job, { services: {}, container: {} })
})

test("the passwords of logins are found behind a host with a port, too", () => {
  assert.deepEqual(passwords("ghcr.io=user:a:b,\nlocalhost:5001=user:c= [::1]:5001=user:d"), ["a:b,", "c=", "d"])
  assert.deepEqual(passwords(""), [])
})

test("a reference keeps its host, but for that of Docker Hub", () => {
  for (const text of ["app", "app:latest", "docker.io/app", "index.docker.io/library/app:latest", "library/app"]) {
    assert.deepEqual(read({ load: text }).load, [{ host: "", path: "app", reference: "latest", text: "app:latest" }])
  }
  for (const host of ["localhost:5000", "ghcr.io", "GHCR.io", "MyHost", "[::1]:5000"]) {
    const wanted = { host, path: "team/app", reference: "v1", text: `${host}/team/app:v1` }
    assert.deepEqual(read({ load: `${host}/team/app:v1` }).load, [wanted])
  }
})

test("what is no reference is no image", () => {
  for (const text of ["app:feature/foo", "App", "0".repeat(64), `sha256:${"0".repeat(64)}`, "a_b.c:v1/d", "=", "app=", "=app"]) {
    for (const name of ["load", "save", "wait"]) assert.throws(() => read({ [name]: text }), Failure, `${name}: ${text}`)
  }
})

test("what the relay would refuse later is refused before anything is started", () => {
  for (const [name, text, said] of [
    ["upstream-auth", "docker.io=:", /the login for docker\.io lacks its user or its password; pull requests of forks get no secrets/],
    ["upstream-auth", "ghcr.io=me:token\ndocker.io=me:", /the login for docker\.io lacks/],
    ["upstream-auth", "https://ghcr.io=me:token", /written as ghcr\.io=user:password/],
    ["upstreams", "HTTP://docker.io", /write the host alone: docker\.io$/],
    ["upstream-auth", "token", /written as ghcr\.io=user:password/],
    ["upstreams", "https://docker.io/", /https:\/\/docker\.io\/ is an address; write the host alone: docker\.io$/],
    ["wait-pull", "7h", /'7h'; it should be a time such as 90s, 10m or 1h, of 6h at most/],
    ["wait-pull", "21601", /of 6h at most/],
    ["save", "app = team/app:v1", /'=' lacks a name at one side of its =; write both without a blank/],
    ["load", "app=", /'app=' lacks a name/],
  ]) assert.throws(() => read({ [name]: text }), said, text)
  assert.equal(read({ "upstream-auth": " ghcr.io=me:a:b=c,\n\n" }).upstreamAuth, "ghcr.io=me:a:b=c,")
  assert.equal(read({ "wait-pull": "6h" }).waitPull, "6h")
})

test("for a port that is taken there is always another", () => {
  assert.deepEqual([5000, 65535].map(nextPort), [5001, 65534])
})

test("a digest is a reference to wait for and to load", () => {
  const digest = `sha256:${"0a".repeat(32)}`
  for (const name of ["load", "wait"]) {
    assert.deepEqual(read({ [name]: `app:v1@${digest}` })[name], [{ host: "", path: "app", reference: digest, text: `app@${digest}` }])
  }
})

test("images stand on lines, or between commas or spaces", () => {
  assert.deepEqual(read({ wait: "\n  a:1\n\n b:2, c:3 d" }).wait.map((each) => each.text), ["a:1", "b:2", "c:3", "d:latest"])
})

test("an image of the engine may get another name", () => {
  const id = "0a".repeat(32)
  const saved = read({ save: `build_1=app:v1\nghcr.io/team/web:v2\napp\n${id}=a\nsha256:${id}=b` }).save
  assert.deepEqual(
    saved.map(({ local, target }) => [local, target.text]),
    [["build_1", "app:v1"], ["ghcr.io/team/web:v2", "ghcr.io/team/web:v2"], ["app:latest", "app:latest"], [id, "a:latest"], [`sha256:${id}`, "b:latest"]],
  )
})

test("an image may get another name in the engine, and no two the same", () => {
  const digest = `sha256:${"0a".repeat(32)}`
  const [first, second] = read({ load: `app:v1=ghcr.io/team/app:pr app@${digest}=app` }).load
  assert.deepEqual([first.text, first.local, second.text, second.local], ["app:v1", "ghcr.io/team/app:pr", `app@${digest}`, "app:latest"])
  assert.equal(read({ load: "app:v1 docker.io/library/app:v1" }).load.length, 2)
  for (const load of ["a=c b=c", "a b=a:latest", `app:v1=app@${digest}`, "a=b=c"]) assert.throws(() => read({ load }), Failure, load)
})

test("an input whose name may be mistyped is told with the one that is meant", () => {
  for (const [name, meant] of [["pasword", "password"], ["PASSWROD", "password"], ["retention_days", "retention-days"], ["waitpull", "wait-pull"]]) {
    assert.deepEqual(read({ [name]: "x" }).doubts, [`this action has no input ${name.toLowerCase()}; did you mean ${meant}?`])
  }
  for (const name of ["who-to-greet", "token", "status", "job"]) assert.deepEqual(read({ [name]: name === "job" ? "{}" : "x" }).doubts, [])
  assert.deepEqual(read({ pasword: "" }).doubts, [])
})

test("where an action is shown the inputs of the one that uses it, none is mistyped", () => {
  const doubts = (environment) => readInputs({ ...environment, INPUT_IMAGES: "x" }).doubts
  for (const runner of ["ACT", "GITEA_ACTIONS", "FORGEJO_ACTIONS"]) assert.deepEqual(doubts({ [runner]: "true" }), [])
  assert.deepEqual(doubts({}), ["this action has no input images; did you mean image?"])
})

test("a job that only reads saves and deletes nothing", () => {
  for (const name of ["save", "delete"]) {
    assert.throws(() => read({ [name]: "app:v1", access: "read" }), new Failure(`${name} needs access: write, which is the default; leave access out`))
  }
})

test("registries to ask stand on lines, or between commas; their logins are passed on as they are", () => {
  const { upstreams, upstreamAuth } = read({ upstreams: "docker.io,\n ghcr.io=mirror:5000\n", "upstream-auth": "docker.io=u:p,=\nghcr.io=v:q" })
  assert.deepEqual([upstreams, upstreamAuth], ["docker.io,ghcr.io=mirror:5000", "docker.io=u:p,=\nghcr.io=v:q"])
  assert.deepEqual([read({}).upstreams, read({}).upstreamAuth], ["", ""])
})

test("a platform is one, or all", () => {
  for (const platform of ["", "all", "linux/arm64", "linux/arm/v7", "windows/amd64"]) assert.equal(read({ platform }).platform, platform)
  for (const platform of ["arm64", "linux/", "linux/arm64&x", "ALL"]) assert.throws(() => read({ platform }), Failure, platform)
})

test("what GitHub, act, and nobody say of the job is understood", () => {
  const services = { relay: { id: "1", ports: { 5000: "5000" } } }
  assert.deepEqual(read({ job: JSON.stringify({ status: "success", services }) }).job, { services, container: {} })
  for (const job of ['{"services":null,"container":{"id":"","network":""}}', "null", "", "{}"]) {
    assert.deepEqual(Object.keys(read({ job }).job.services), [])
  }
})

test("a name that would be an option of docker is no image", () => {
  for (const text of ["--output=/etc/passwd", "-o", "--output=app"]) {
    assert.throws(() => read({ save: text }), Failure)
  }
  assert.throws(() => read({ image: "--privileged" }), Failure)
})
