import assert from "node:assert/strict"
import { execFile } from "node:child_process"
import { mkdtempSync, writeFileSync } from "node:fs"
import { createServer } from "node:http"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, before, test } from "node:test"

const POST = join(import.meta.dirname, "..", "..", "action", "post.mjs")
const DENIED = [403, { errors: [{ code: "DENIED", message: "the service is away" }] }]
const END = {
  "POST /relay/flush": [503, { failed: [{ reference: "app:v1", problem: "no space" }] }],
  "DELETE /relay/images/app:v0": [200, { removed: [], kept: [] }],
  "GET /relay/summary": [200, "### image-relay"],
  "GET /relay/health": [200, { version: "1", store: "actions", refused: [{ method: "GET", path: "/v2/", message: "no", count: 1 }] }],
}
let answers = END
const server = createServer((request, response) => {
  const [status, body] = answers[`${request.method} ${request.url}`] ?? [404, {}]
  if (!status) return request.socket.destroy()
  response.writeHead(status).end(typeof body === "string" ? body : JSON.stringify(body))
})

before(() => new Promise((resolve) => server.listen(0, "127.0.0.1", resolve)))
after(() => server.close())

/** Run the end of a job; returns its status and what it printed. */
function post(summary) {
  const state = { url: `http://127.0.0.1:${server.address().port}`, first: "true", summary: "true", delete: '{"images":["app:v0"],"when":"always"}' }
  const env = { PATH: process.env.PATH, GITHUB_STEP_SUMMARY: summary }
  for (const [name, value] of Object.entries(state)) env[`STATE_${name}`] = value
  return new Promise((resolve) => execFile(process.execPath, [POST], { env }, (error, said) => resolve({ status: error?.code ?? 0, said })))
}

for (const [title, changes, where, told] of [
  ["all else goes well", {}, "file", "requests that were refused"],
  ["the summary is refused", { "GET /relay/summary": DENIED }, "file", "the job summary lacks the images: the service is away"],
  ["the summary breaks off", { "GET /relay/summary": [] }, "file", "the job summary lacks the images: GET /relay/summary: socket hang up"],
  ["the summary cannot be written", {}, "folder", "the job summary lacks the images: EISDIR"],
  ["the deletion breaks off", { "DELETE /relay/images/app:v0": [] }, "file", "what was to be deleted is kept: DELETE /relay/images/app:v0"],
]) {
  test(`a push that could not be stored fails the job, where ${title}`, async () => {
    const folder = mkdtempSync(join(tmpdir(), "image-relay-"))
    const file = join(folder, "summary")
    writeFileSync(file, "")
    answers = { ...END, ...changes }

    const { status, said } = await post(where === "file" ? file : folder)

    assert.equal(status, 1, said)
    assert.match(said, /::error.*could be stored.*app:v1: no space/)
    assert.ok(said.includes(told), said)
    assert.match(said, /GET \/v2\/: no/)
  })
}
