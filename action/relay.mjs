// The relay's HTTP, as far as a job needs it. Requests go straight to the address: never through a proxy, which would
// see the token, and never elsewhere by a redirect.

import { Agent, request as httpRequest } from "node:http"

export const VERSION = "1.0.0" // of the action, and of the image that it starts

const PROBE = 3_000 // milliseconds for a relay on this machine to say that it is one
const LIMIT = 4 * 1024 * 1024 // bytes of an answer that is held; a summary has one at most
const LOOK = 30_000 // milliseconds for what a relay that runs says at once
const SUMMARY = 90_000 // milliseconds for what it may look up; it gives up a service that is away after 55 s
const FLUSH = 30 * 60_000 // milliseconds for storing what is pending
const HOPS = 20 // times that a relay may say "come again"; it holds the line for 25 s each time
const AGENT = new Agent() // the global one would use a proxy of the environment
const MANIFESTS = [
  "application/vnd.oci.image.index.v1+json",
  "application/vnd.oci.image.manifest.v1+json",
  "application/vnd.docker.distribution.manifest.list.v2+json",
  "application/vnd.docker.distribution.manifest.v2+json",
].join(", ")

/** The relay gave no answer. */
export class Unanswered extends Error {}

/** The relay's answer was no; `status` and the sentence that it gave. */
export class Refused extends Error {
  constructor(status, message) {
    super(message)
    this.status = status
  }
}

/** Return what a relay that could not start has printed as the reasons. */
export function reasons(lines) {
  const start = "image-relay: "
  return lines.filter((line) => line.startsWith(start)).map((line) => line.slice(start.length))
}

/** A relay at an address such as http://127.0.0.1:5000. */
export class Relay {
  constructor(url, password = "") {
    this.url = url
    const login = password ? { authorization: `Basic ${Buffer.from(`relay:${password}`).toString("base64")}` } : {}
    this.headers = { "user-agent": `image-relay-action/${VERSION}`, ...login } // whose failures this step shows itself
  }

  /** Return how it is, or nothing if what listens there is no relay. */
  async health(signal = AbortSignal.timeout(PROBE)) {
    try {
      const said = await this.json("GET", "/relay/health", { signal })
      return said && typeof said.version === "string" && typeof said.store === "string" ? said : undefined
    } catch (error) {
      if (error instanceof Unanswered || error instanceof Refused || error instanceof SyntaxError) return undefined
      throw error
    }
  }

  /** Hand a session over; returns what the relay could not store in another run that it worked for before. */
  async takeSession(offer) {
    const body = await this.send("PUT", "/relay/session", { body: JSON.stringify(offer) })
    return parseOrNothing(body)?.lost ?? []
  }

  /** Make everything durable; returns what could not be stored, each with its problem. */
  async flush() {
    const answer = await this.ask("POST", "/relay/flush", { signal: AbortSignal.timeout(FLUSH) })
    const body = await content(answer)
    if (answer.statusCode === 200) return []
    const failed = parseOrNothing(body)?.failed
    if (answer.statusCode === 503 && failed) return failed
    throw new Refused(answer.statusCode, sentence(answer, body))
  }

  /** Return the proof that this is the relay with a nonce: what it makes of a challenge. */
  async proof(challenge) {
    return this.send("GET", `/relay/proof?challenge=${challenge}`, { signal: AbortSignal.timeout(PROBE) })
  }

  /** Count the requests that clients of a registry have made. */
  async requests() {
    const figures = await this.send("GET", "/metrics", { signal: AbortSignal.timeout(LOOK) })
    const counted = figures.matchAll(/^image_relay_requests_total\{[^}]*route="\/v2[^}]*} (\S+)$/gm)
    return Array.from(counted, ([, count]) => Number(count)).reduce((sum, each) => sum + each, 0)
  }

  async summary() {
    return this.send("GET", "/relay/summary", { signal: AbortSignal.timeout(SUMMARY) })
  }

  async images() {
    return (await this.json("GET", "/relay/images")).images
  }

  /** Delete an image; returns what was removed and what was kept. */
  async remove(reference) {
    return this.json("DELETE", image(reference))
  }

  /** Delete everything that image-relay stored in the run. */
  async removeAll() {
    return this.json("DELETE", "/relay/images?all")
  }

  /** Is there this image by now? Anything but yes or no is an error. */
  async has(reference) {
    const answer = await this.ask("HEAD", manifest(reference), { headers: { accept: MANIFESTS } })
    await content(answer)
    if (answer.statusCode === 200 || answer.statusCode === 404) return answer.statusCode === 200
    throw new Refused(answer.statusCode, await this.reason(reference))
  }

  /** Return in the relay's words why an image is not there. */
  async reason(reference) {
    const answer = await this.ask("GET", manifest(reference), { headers: { accept: MANIFESTS } })
    return sentence(answer, await content(answer))
  }

  /** Store a tarball of `docker save` under a reference; returns what the relay says of its images. */
  async store(reference, tarball) {
    return parse(await this.send("PUT", image(reference.text), { body: tarball })).images
  }

  /**
   * Return the tarball of an image as a stream: under its own name or a `local` one, of several platforms what `query` names.
   * Refused if no engine can load it.
   */
  async fetch({ text, local }, query) {
    const wanted = new URLSearchParams({ compression: "none", loadable: "", ...query })
    const answer = await this.ask("GET", `${image(local ? `${text}=${local}` : text)}?${wanted}`)
    if (answer.statusCode !== 200) throw new Refused(answer.statusCode, sentence(answer, await content(answer)))
    return answer
  }

  async json(method, path, options) {
    return parse(await this.send(method, path, options))
  }

  /** Send a request that has to succeed, and give the body of the answer. */
  async send(method, path, options) {
    const answer = await this.ask(method, path, options)
    const body = await content(answer)
    if (answer.statusCode >= 200 && answer.statusCode < 300) return body
    throw new Refused(answer.statusCode, sentence(answer, body))
  }

  /** Send a request, again whenever the relay says so; returns the answer, whatever it is. */
  async ask(method, path, options = {}) {
    for (let hop = 0; hop < HOPS; hop++) {
      const answer = await this.once(method, path, options)
      if (answer.statusCode !== 307) return answer
      await content(answer)
    }
    throw new Unanswered(`${method} ${path}: still redirected after ${HOPS} requests; see the log of the relay`)
  }

  once(method, path, { headers = {}, body, signal } = {}) {
    return new Promise((resolve, reject) => {
      const fail = (error) => reject(new Unanswered(`${method} ${path}: ${error.message || error.code}`))
      const sent = { ...this.headers, ...headers }
      const asked = httpRequest(new URL(path, this.url), { method, headers: sent, agent: AGENT, signal }, resolve)
      asked.on("error", fail)
      if (body && typeof body.pipe === "function") {
        body.on("error", (error) => asked.destroy(error)).pipe(asked)
      } else {
        asked.end(body)
      }
    })
  }
}

function image(reference) {
  return `/relay/images/${encodeURI(reference)}`
}

/** Return the path of a manifest of this run; only some hosts could stand in it, so each is a parameter. */
function manifest({ host, path, reference }) {
  return `/v2/${path}/manifests/${reference}?own${host ? `&ns=${encodeURIComponent(host)}` : ""}`
}

async function content(answer) {
  const chunks = []
  try {
    let size = 0
    for await (const chunk of answer) {
      chunks.push(chunk)
      size += chunk.length
      if (size > LIMIT) throw new Error(`it has more than ${LIMIT} bytes`)
    }
  } catch (error) {
    throw new Unanswered(`the answer broke off: ${error.message}`)
  }
  return Buffer.concat(chunks).toString("utf8")
}

function parse(body) {
  return JSON.parse(body || "null")
}

function parseOrNothing(body) {
  try {
    return parse(body)
  } catch {
    return undefined
  }
}

/** Return the one sentence of an error in the registry's form, or the status. */
function sentence(answer, body) {
  return parseOrNothing(body)?.errors?.[0]?.message ?? `it answered ${answer.statusCode}`
}
