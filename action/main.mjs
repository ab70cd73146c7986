// The step itself: find or start the relay of this job, hand the session over, and do what was asked for with images.

import { docker, EngineAbsent, EngineError } from "./engine.mjs"
import { load, save, wait } from "./images.mjs"
import { passwords, readInputs } from "./inputs.mjs"
import { choose, find, isCalled } from "./find-relay.mjs"
import { checkPassword, ineffective, variable } from "./later-use.mjs"
import { probe } from "./probe.mjs"
import { find as findProcess } from "./process.mjs"
import { Refused, Relay, Unanswered } from "./relay.mjs"
import { annotate, exportVariable, Failure, log, mask, newPassword, output, remember, run } from "./runner.mjs"
import { check, handOver } from "./session.mjs"
import { checkVariables } from "./settings.mjs"
import { startRelay } from "./start-relay.mjs"

const USED = "IMAGE_RELAY_USED" // the relays that steps of this job have used, for later ones

await run(async () => {
  const inputs = readInputs()
  if (inputs.doubts.length) annotate("warning", ...inputs.doubts)
  checkVariables()
  check(inputs)
  passwords(inputs.upstreamAuth).forEach((password) => mask(password))
  const { there, password, isNew, hasSession, notes = [] } = await findOrStart(inputs)
  const relay = new Relay(there.url, password)
  const lost = hasSession ? [] : await handOver(relay, inputs, there.registry)
  const used = (process.env[USED] ?? "").split(" ").filter(Boolean)
  const isFirst = isNew || !used.includes(there.url)
  exportVariable(USED, [...new Set([...used, there.url])].join(" "))
  keep(inputs, there, password, isFirst)
  const reached = hasSession ? await probe(relay, there.registry) : true
  if (password && reached && isFirst) await logIn(there.registry, password)
  if (notes.length || lost.length) annotate("warning", ...notes, ...lost)
  log(`image-relay serves ${there.registry}`)
  await work(relay, inputs)
})

/** Return the relay of this job, and the password that it has. */
async function findOrStart(inputs) {
  const found = await findRelay(inputs)
  if (!found) {
    const { there, hasSession } = await startRelay(inputs, newPassword(inputs.password))
    return { there, hasSession, password: variable(there, "RELAY_PASSWORD"), isNew: true }
  }
  log(`the relay is ${found.started ? "the one that an earlier step has started" : `the service container ${found.alias}`}`)
  checkPassword(found, inputs.password)
  return { there: found, password: passwordOf(found, inputs.password), notes: ineffective(found, inputs) }
}

/** Find the relay of this job: the process that an earlier step has started, or else a container. */
async function findRelay(inputs) {
  const running = inputs.mode === "container" ? undefined : await findProcess(inputs)
  if (inputs.mode === "process") return choose(running ? [running] : [], inputs.address)
  return running && isCalled(running, inputs.address) ? running : find(inputs)
}

/** Of what the action has started the engine, or a record, has the password. That of a service is for the workflow to say. */
function passwordOf(found, wanted) {
  const password = found.started ? variable(found, "RELAY_PASSWORD") : wanted
  if (password) mask(password)
  return password
}

/** Leave for the end of the job what that needs; the first use of a relay speaks for all, since its end is the last one. */
function keep(inputs, there, password, isFirst) {
  remember("url", there.url)
  remember("password", password)
  remember("first", String(isFirst))
  remember("summary", String(isFirst && inputs.summary))
  remember("delete", JSON.stringify({ images: inputs.delete, when: inputs.deleteIf }))
  output("registry", there.registry)
  output("address", there.url)
  output("password", password)
}

async function logIn(registry, password) {
  try {
    await docker(["login", "--username", "relay", "--password-stdin", registry], { input: password })
    remember("login", registry)
  } catch (error) {
    if (error instanceof EngineAbsent) {
      annotate("notice", `there is no docker to log in with; other clients find the password in outputs.password`)
    } else if (error instanceof EngineError) {
      throw new Failure(`docker cannot log in to ${registry}: ${error.message}`)
    } else {
      throw error
    }
  }
}

async function work(relay, inputs) {
  try {
    await wait(relay, inputs.wait, inputs.waitSeconds)
    await load(relay, inputs.load, inputs.platform)
    const saved = await save(relay, inputs.save)
    output("digest", saved[0]?.digest ?? "")
    output("digests", JSON.stringify(Object.fromEntries(saved.map((each) => [each.reference, each.digest]))))
    output("images", JSON.stringify(await relay.images()))
  } catch (error) {
    if (error instanceof Refused) throw new Failure(`the relay says: ${error.message}`)
    if (error instanceof Unanswered) throw new Failure(`the relay went away: ${error.message}`)
    throw error
  }
}
