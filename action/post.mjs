// The end of the job: store what is pending, tell what there is, and leave nothing behind.
// The job fails here for one reason alone: something that was pushed could not be stored.

import { stop } from "./container.mjs"
import { docker, EngineError } from "./engine.mjs"
import { stop as stopProcess } from "./process.mjs"
import { Refused, Relay, Unanswered } from "./relay.mjs"
import { deleteImages } from "./deletion.mjs"
import { annotate, input, mask, recall, run, summarize } from "./runner.mjs"

const SHOWN = 10 // refusals in the annotation

await run(async () => {
  const [url, password] = [recall("url"), recall("password")]
  if (password) mask(password)
  const notes = []
  const failed = url ? await finish(new Relay(url, password), notes) : []
  if (failed.length) {
    annotate("error", "not everything that was pushed could be stored, so later jobs will not find it:", ...failed)
    process.exitCode = 1
  }
  if (recall("login")) await logOut(recall("login"), notes)
  if (recall("container")) notes.push(...(await stop(recall("container"))))
  if (recall("process")) notes.push(...(await stopProcess(JSON.parse(recall("process")))))
  if (notes.length) annotate("warning", ...notes)
})

/**
 * Flush, delete, write the summary, and collect what went wrong for one annotation; returns what could not be stored. A later use only
 * deletes what it is asked to: the first one, whose end comes last, does the rest for all.
 */
async function finish(relay, notes) {
  const isFirst = recall("first") === "true"
  const deletion = JSON.parse(recall("delete") || '{"images":[]}')
  let failed = []
  try {
    if (isFirst || deletion.images.length) failed = await relay.flush()
  } catch (error) {
    if (!(error instanceof Unanswered || error instanceof Refused)) throw error
    const gone = "the relay no longer answers; what was pushed by digest alone may not be stored"
    if (isFirst) notes.push(error instanceof Unanswered ? gone : "the relay refused to store what is pending; what was pushed by digest alone may not be stored", error.message)
    return []
  }
  const kept = await attempt("what was to be deleted is kept", () => deleteImages(relay, deletion, input("status")))
  const missing = recall("summary") === "true" ? await attempt("the job summary lacks the images", () => writeSummary(relay)) : []
  if (isFirst) await tellRefusals(relay, notes)
  notes.push(...kept, ...missing)
  return isFirst ? failed.map((each) => `${each.reference}: ${each.problem}`) : []
}

/** Do one thing of the end, which keeps no other from being done; returns what went wrong with it. */
async function attempt(failure, work) {
  try {
    return (await work()) ?? []
  } catch (error) {
    return [`${failure}: ${error.message}`]
  }
}

async function writeSummary(relay) {
  try {
    const text = await relay.summary()
    if (text) summarize(text)
  } catch (error) {
    if (error.status !== 404) throw error // an older relay writes none
  }
}

async function tellRefusals(relay, notes) {
  const { refused = [] } = (await relay.health()) ?? {}
  if (!refused.length) return
  notes.push("requests that were refused, or got no answer:")
  for (const each of refused.slice(-SHOWN)) {
    const times = each.count > 1 ? ` (${each.count} times)` : ""
    notes.push(`${each.method} ${each.path}: ${each.message}${times}`)
  }
}

async function logOut(registry, notes) {
  try {
    await docker(["logout", registry])
  } catch (error) {
    if (!(error instanceof EngineError)) throw error
    notes.push(`docker logout ${registry}: ${error.message}`)
  }
}
