import assert from "node:assert/strict"
import { createServer } from "node:http"
import { after, before, test } from "node:test"
import { wait } from "../../action/images.mjs"
import { Relay } from "../../action/relay.mjs"

const WANTED = [{ text: "app:v1", host: "", path: "app", reference: "v1" }]
const REFUSED = JSON.stringify({ errors: [{ code: "DENIED", message: "the service is away" }] })
let plan = []
const server = createServer((request, response) => {
  const status = plan.length > 1 ? plan.shift() : plan[0]
  if (!status) return request.socket.destroy()
  response.writeHead(status).end(request.method === "HEAD" || status === 200 ? "" : REFUSED)
})

before(() => new Promise((resolve) => server.listen(0, "127.0.0.1", resolve)))
after(() => server.close())

const relay = () => new Relay(`http://127.0.0.1:${server.address().port}`)

for (const first of [403, 404, 500, 502, 0]) {
  test(`an image is awaited although the relay first answers with ${first || "nothing"}`, async () => {
    plan = [first, first, 200] // a refusal is asked for its reason, too

    await wait(relay(), WANTED, 30, [10])
  })
  test(`when the time is over, what was answered with ${first || "nothing"} is told`, async () => {
    plan = [first]

    await assert.rejects(wait(relay(), WANTED, 0), /app:v1 did not appear within 0 s \(wait-seconds\): ./)
  })
}

for (const status of [400, 401, 405]) {
  test(`no waiting changes ${status}`, async () => {
    plan = [status]

    await assert.rejects(wait(relay(), WANTED, 30, [10]), { message: "the service is away", status })
  })
}
