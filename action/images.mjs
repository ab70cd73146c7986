// Images on their way: awaited, handed over from the local engine, and fetched into it.

import { pipeline } from "node:stream/promises"
import { EngineAbsent, EngineError, platform, probe, stream } from "./engine.mjs"
import { Refused, Unanswered } from "./relay.mjs"
import { Failure, group, log } from "./runner.mjs"

const PAUSES = [2_000, 4_000, 8_000, 15_000] // milliseconds between two looks for an image, at each of which the relay lists its run
const FOR_EVER = [400, 401, 405] // statuses that no waiting changes
const TELL = 30_000 // milliseconds between two lines that say what is awaited

/** Wait until every image is there; Failure with the relay's reason when the time is over. */
export async function wait(relay, references, seconds, pauses = PAUSES) {
  const end = Date.now() + seconds * 1000
  for (const each of references) {
    let told = Date.now()
    let [isThere, problem] = await look(relay, each)
    for (let looks = 0; !isThere; looks++) {
      const left = end - Date.now()
      if (left <= 0) throw new Failure(await tooLate(relay, each, seconds, problem))
      if (Date.now() - told >= TELL) {
        log(`waiting for ${each.text}`)
        told = Date.now()
      }
      await new Promise((resolve) => setTimeout(resolve, Math.min(left, pauses[Math.min(looks, pauses.length - 1)])))
      ;[isThere, problem] = await look(relay, each)
    }
    log(`${each.text} is there`)
  }
}

/** Return whether an image is there by now, and what kept the relay from saying so, which may be over the next time. */
async function look(relay, each) {
  try {
    return [await relay.has(each), ""]
  } catch (error) {
    const isPassing = error instanceof Unanswered || (error instanceof Refused && !FOR_EVER.includes(error.status))
    if (!isPassing) throw error
    return [false, error.message]
  }
}

async function tooLate(relay, each, seconds, problem) {
  return `${each.text} did not appear within ${seconds} s (wait-seconds): ${problem || (await relay.reason(each))}`
}

/** Hand images of the local engine over; returns the relay's word for each: reference, digest, sizes. */
export async function save(relay, wanted) {
  const stored = []
  for (const { local, target } of wanted) {
    const taken = await translated(`save: ${local}`, () => saveOne(relay, local, target))
    for (const each of taken) log(`${local} is stored as ${each.reference}, ${each.digest}`)
    stored.push(...taken)
  }
  return stored
}

async function saveOne(relay, local, target) {
  const saving = stream(["save", local])
  const trouble = saving.done.then(() => undefined, (error) => error)
  let taken
  try {
    taken = await relay.store(target, saving.stdout)
  } catch (error) {
    const wasWhole = saving.stdout.readableEnded
    saving.stdout.destroy() // the relay may refuse before it has read all
    throw (wasWhole && (await trouble)) || error // of a broken tarball docker says more than the relay
  }
  const problem = await trouble
  if (problem) throw problem
  return taken
}

/** Fetch images into the local engine; of one for several platforms that of the engine, unless one or all are asked for. */
export async function load(relay, wanted, chosen) {
  for (const each of wanted) {
    await translated(`load: ${each.text}`, () => loadOne(relay, each, chosen))
  }
}

async function loadOne(relay, reference, chosen) {
  const query = chosen === "all" ? {} : chosen ? { platform: chosen } : { engine: await platform() }
  const tarball = await relay.fetch(reference, query)
  const loading = stream(["load"])
  const [sent, ended, said] = await Promise.allSettled([
    pipeline(tarball, loading.stdin),
    loading.done,
    loading.stdout.setEncoding("utf8").toArray(),
  ])
  if (ended.status === "rejected") throw ended.reason
  if (sent.status === "rejected") throw new Unanswered(sent.reason.message)
  const lines = said.value.join("").trim().split("\n")
  group(`docker load of ${reference.text}`, lines)
  const problem = lines.find((line) => /^Error unpacking image/.test(line)) // docker ends well all the same
  if (problem) throw new EngineError(problem)
  if (!lines.some((line) => /^Loaded image/.test(line))) {
    throw new EngineError("no word of a loaded image; its output is in the log of this step")
  }
}

/** Let docker work, if there is one, and say of every failure what was wanted and who refused it. */
async function translated(what, work) {
  try {
    await probe()
    return await work()
  } catch (error) {
    if (error instanceof EngineAbsent) {
      throw new Failure(`${what}: it needs Docker, and ${error.message}. Use a runner with Docker`)
    }
    if (error instanceof EngineError) throw new Failure(`${what}: docker says: ${error.message}`)
    if (error instanceof Refused) throw new Failure(`${what}: the relay says: ${error.message}`)
    if (error instanceof Unanswered) throw new Failure(`${what}: the relay went away: ${error.message}`)
    throw error
  }
}
