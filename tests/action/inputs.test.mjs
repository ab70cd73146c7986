import assert from "node:assert/strict"
import { test } from "node:test"
import { readInputs } from "../../action/inputs.mjs"
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

test("a reference may have a host, which the relay does not know", () => {
  const same = ["app", "app:latest", "localhost:5000/app", "localhost/app:latest", "127.0.0.1:5000/app", "ghcr.io/app:latest"]
  for (const text of same) {
    assert.deepEqual(read({ load: text }).load, [{ name: "app", reference: "latest", text: "app:latest" }])
  }
  assert.equal(read({ load: "team/app:v1" }).load[0].text, "team/app:v1")
  assert.equal(read({ load: "localhost:5000/team/app" }).load[0].text, "team/app:latest")
})

test("a digest is a reference to wait for and to load", () => {
  const digest = `sha256:${"0a".repeat(32)}`
  for (const name of ["load", "wait"]) {
    assert.deepEqual(read({ [name]: `app:v1@${digest}` })[name], [{ name: "app", reference: digest, text: `app@${digest}` }])
  }
})

test("images stand on lines, or between commas or spaces", () => {
  assert.deepEqual(read({ wait: "\n  a:1\n\n b:2, c:3 d" }).wait.map((each) => each.text), ["a:1", "b:2", "c:3", "d:latest"])
})

test("an image of the engine may get another name", () => {
  const [first, second] = read({ save: "Build_1=app:v1\nghcr.io/team/web:v2" }).save
  assert.deepEqual([first.local, first.target.text], ["Build_1", "app:v1"])
  assert.deepEqual([second.local, second.target.text], ["ghcr.io/team/web:v2", "team/web:v2"])
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
