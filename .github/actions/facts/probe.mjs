// The questions. A row is what was asked, what was seen, and whether it is as image-relay needs it: null where it is
// content with either answer. Nothing that is seen is a secret: of a signed URL only its rights and its end.

import { randomBytes, randomUUID } from "node:crypto"
import { setTimeout as sleep } from "node:timers/promises"

import { crc64 } from "./crc64.mjs"

const SHOWS = 10_000 // milliseconds; `Timeouts.shows` of the relay
const LIVES = 30 // minutes; what a large image takes
const SMALL = 1000 // bytes

/** Ask everything. `label` names the job, `size` is what the speed is taken of, in bytes.
 *
 * What is stored is removed again, but for what the next attempt of the run looks for.
 */
export async function probe(service, { label, size, attempt }) {
  const stem = `facts-${label}-${randomUUID().slice(0, 8)}`
  const rows = []
  const row = (fact, seen, holds = null) => rows.push({ fact, seen, holds })

  const first = `${stem}-first`
  const content = randomBytes(SMALL)
  const created = await service.create(first)
  if (!created.url) throw new Error(`the artifact service answered ${created.status} to CreateArtifact`)
  const minutes = Math.round((created.url.ends - Date.now()) / 60_000)
  const { isAzure } = created.url
  row("blob storage", isAzure ? "Azure" : "the service itself")
  if (isAzure) {
    row("rights of an upload URL", created.url.rights, /c/.test(created.url.rights) && /w/.test(created.url.rights))
    row("life of an upload URL", `${minutes} min`, minutes >= LIVES)
    const wrong = await created.url.put(id(9), content, { "x-ms-content-crc64": crc64(randomBytes(SMALL)) })
    row("a block with a wrong CRC-64", `answered ${wrong.status}`, wrong.status === 400)
  }
  const again = await service.create(first)
  row("the name of an unfinished artifact", again.status === 409 ? "is taken" : `can be had again (${again.status})`)
  row("an unfinished artifact", ...unfinished(await service.list(), first))

  await upload(created.url, content)
  const { hash } = await service.finalize(first, content)
  const listed = await shown(service, first)
  row("listed after it is finished", ...latency(listed))
  row("the digest in the list", listed.digest ? "is told" : "is not told", !listed.digest || listed.digest === hash)
  row("keys of the list", listed.snake ? "snake case" : "camel case")

  const source = await service.sign(first)
  if (isAzure) await readAndCopy(service, row, { stem, source, content })
  await speed(service, row, `${stem}-large`, size)
  await attempts(service, row, `facts-${label}-attempt`, attempt)

  row("an artifact that is deleted", `answered ${await service.remove(first)}`)
  row("the name of a deleted artifact", (await service.create(first)).status === 409 ? "stays taken" : "is free again")
  row("clock of the service", `${Math.round((await service.call("ListArtifacts")).ahead / 1000)} s ahead`)
  return rows
}

function unfinished(artifacts, name) {
  const there = artifacts.find((each) => each.name === name)
  if (!there) return ["is not listed", true]
  return ["is listed", !there.snake] // the relay takes what GitHub lists for finished
}

async function readAndCopy(service, row, { stem, source, content }) {
  row("rights of a read URL", source.rights, /r/.test(source.rights))
  row("life of a read URL", `${((source.ends - Date.now()) / 60_000).toFixed(1)} min`, source.ends > Date.now())
  const answer = await source.read("bytes=0-99")
  const range = answer.headers.get("content-range")
  await answer.arrayBuffer()
  row("a range of an artifact", `${answer.status}, ${range}`, answer.status === 206 && range === `bytes 0-99/${SMALL}`)
  row("an ETag with it", answer.headers.get("etag") ? "is told" : "is not told")

  const { url } = await service.create(`${stem}-copy`)
  const checksum = crc64(content)
  const copied = await url.copy(id(1), source, SMALL, checksum)
  const told = copied.headers.get("x-ms-content-crc64")
  const verified = copied.status !== 201 || told === checksum
  row("Put Block From URL", copied.status === 201 ? "is allowed" : `is refused (${copied.status})`, verified)
}

async function speed(service, row, name, size) {
  const content = randomBytes(size)
  const { url } = await service.create(name)
  let since = Date.now()
  await upload(url, content)
  row("speed up, one connection", rate(size, since))
  await service.finalize(name, content)
  await shown(service, name)
  const source = await service.sign(name)
  since = Date.now()
  const read = Buffer.from(await (await source.read(source.isAzure ? `bytes=0-${size - 1}` : "")).arrayBuffer())
  row("speed down, one connection", rate(size, since), read.equals(content))
  await service.remove(name)
}

/** Leave an artifact for the next attempt of this run, and look for that of the one before. */
async function attempts(service, row, stem, attempt) {
  const before = attempt > 1 ? `${stem}-${attempt - 1}` : ""
  if (before) {
    const there = (await service.list()).find((each) => each.name === before)
    const own = there?.run === service.ids.workflow_run_backend_id
    row("artifacts of an earlier attempt", !there ? "are not listed" : `are listed, under ${own ? "one" : "another"} id`)
    row("their names", (await service.create(before)).status === 409 ? "are taken" : "are free")
  } else {
    row("artifacts of an earlier attempt", "unknown until a re-run")
  }
  const name = `${stem}-${attempt}`
  const { url } = await service.create(name)
  if (!url) return // this attempt left it already
  const content = randomBytes(SMALL)
  await upload(url, content)
  await service.finalize(name, content)
}

async function upload(url, content) {
  const stored = await url.put(id(1), content)
  const committed = await url.commit(id(1))
  if (![stored.status, committed.status].every((status) => status === 200 || status === 201)) {
    throw new Error(`blob storage answered ${stored.status} to a block, ${committed.status} to the list of them`)
  }
}

/** Wait until an artifact is listed; returns it with the milliseconds that it took. */
async function shown(service, name) {
  const since = Date.now()
  while (Date.now() - since < 6 * SHOWS) {
    const found = (await service.list()).find((each) => each.name === name)
    if (found) return { ...found, after: Date.now() - since }
    await sleep(250)
  }
  throw new Error(`the artifact service lists ${name} not even a minute after it was finished`)
}

function latency({ after }) {
  return [`after ${(after / 1000).toFixed(1)} s`, after <= SHOWS]
}

function id(number) {
  return Buffer.from(`${number}`.padStart(48, "0")).toString("base64")
}

function rate(size, since) {
  return `${(size / 1024 / 1024 / (Math.max(Date.now() - since, 1) / 1000)).toFixed(0)} MiB/s`
}
