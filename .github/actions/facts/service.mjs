// The artifact service of this run and its blob storage, asked directly: what they answer is what is of interest.

import { createHash } from "node:crypto"

const PATH = "/twirp/github.actions.results.api.v1.ArtifactService/"
const PATIENCE = 60_000 // milliseconds for one request

export class Service {
  #origin
  #token

  constructor(environment = process.env) {
    this.#origin = new URL(environment.ACTIONS_RESULTS_URL).origin
    this.#token = environment.ACTIONS_RUNTIME_TOKEN
    const claims = JSON.parse(Buffer.from(this.#token.split(".")[1], "base64url").toString())
    const [, run, job] = claims.scp.split(" ").find((each) => each.startsWith("Actions.Results:")).split(":")
    this.ids = { workflow_run_backend_id: run, workflow_job_run_backend_id: job }
  }

  /** Call a method; returns the status, the answer and, in milliseconds, by how much its clock is ahead. */
  async call(method, fields = {}) {
    const answer = await fetch(`${this.#origin}${PATH}${method}`, {
      method: "POST",
      headers: { authorization: `Bearer ${this.#token}`, "content-type": "application/json" },
      body: JSON.stringify({ ...this.ids, ...fields }),
      signal: AbortSignal.timeout(PATIENCE),
    })
    const ahead = Date.parse(answer.headers.get("date")) - Date.now()
    return { status: answer.status, body: await answer.json().catch(() => ({})), ahead }
  }

  /** List the artifacts of the run, in one spelling; `snake` tells which one they came in. */
  async list() {
    const { status, body } = await this.call("ListArtifacts")
    if (status !== 200) throw new Error(`the artifact service answered ${status} to ListArtifacts`)
    return (body.artifacts ?? []).map((each) => ({
      name: each.name,
      digest: each.digest ?? "",
      run: each.workflow_run_backend_id ?? each.workflowRunBackendId,
      job: each.workflow_job_run_backend_id ?? each.workflowJobRunBackendId,
      snake: "database_id" in each,
    }))
  }

  /** Reserve a name; returns the status and the signed URL to upload to, a secret. */
  async create(name) {
    const expires_at = new Date(Date.now() + 86_460_000).toISOString() // a day, and what it takes to get there
    const { status, body } = await this.call("CreateArtifact", { name, expires_at, version: 4 })
    const url = body.signed_upload_url ?? body.signedUploadUrl
    return { status, url: url && new Blob(url) }
  }

  async finalize(name, content) {
    const hash = `sha256:${createHash("sha256").update(content).digest("hex")}`
    const { status } = await this.call("FinalizeArtifact", { name, size: String(content.length), hash })
    return { status, hash }
  }

  /** Sign a URL to read an artifact with, a secret. */
  async sign(name) {
    const { body } = await this.call("GetSignedArtifactURL", { name })
    return new Blob(body.signed_url ?? body.signedUrl)
  }

  async remove(name) {
    return (await this.call("DeleteArtifact", { name })).status
  }
}

/** What is behind one signed URL. */
export class Blob {
  #url

  constructor(url) {
    this.#url = url
    const query = new URL(url).searchParams
    this.rights = query.get("sp") ?? ""
    this.ends = Date.parse(query.get("se")) // NaN where the URL does not say
    this.isAzure = !new URL(url).pathname.includes("/twirp/") // else the service keeps the bytes itself
  }

  async put(id, content, headers = {}) {
    return this.#send(`&comp=block&blockid=${encodeURIComponent(id)}`, content, headers)
  }

  async commit(...ids) {
    const list = ids.map((id) => `<Latest>${id}</Latest>`).join("")
    return this.#send("&comp=blocklist", `<?xml version="1.0" encoding="utf-8"?><BlockList>${list}</BlockList>`)
  }

  /** Let storage copy from another blob; `checksum` is the CRC-64 of its bytes. */
  async copy(id, source, length, checksum) {
    return this.put(id, "", {
      "x-ms-copy-source": source.#url,
      "x-ms-source-range": `bytes=0-${length - 1}`,
      "x-ms-source-content-crc64": checksum,
    })
  }

  async read(range) {
    return fetch(this.#url, { headers: range ? { range } : {}, signal: AbortSignal.timeout(PATIENCE) })
  }

  async #send(query, body, headers = {}) {
    const answer = await fetch(this.#url + query, {
      method: "PUT",
      headers: { "x-ms-version": "2020-10-02", ...headers },
      body,
      signal: AbortSignal.timeout(PATIENCE),
    })
    await answer.arrayBuffer()
    return answer
  }
}
