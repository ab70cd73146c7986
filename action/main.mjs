// The step itself: find or start the relay of this job, hand the session over, and do what was asked for with images.

import { randomBytes } from "node:crypto"
import { docker, EngineAbsent, EngineError } from "./engine.mjs"
import { load, save, wait } from "./images.mjs"
import { readInputs } from "./inputs.mjs"
import { choose, find, isCalled } from "./find-relay.mjs"
import { probe } from "./probe.mjs"
import { find as findProcess } from "./process.mjs"
import { Refused, Relay, Unanswered } from "./relay.mjs"
import { annotate, Failure, log, mask, output, remember, run } from "./runner.mjs"
import { check, handOver } from "./session.mjs"
import { startRelay } from "./start-relay.mjs"

await run(async () => {
  const inputs = readInputs()
  check()
  const { there, password, isProcess } = await findOrStart(inputs)
  const relay = new Relay(there.url, password)
  const first = isProcess || (await handOver(relay, inputs, there.registry))
  keep(inputs, there, password, first)
  const reached = isProcess ? await probe(relay, there.registry) : true
  if (password && reached) await logIn(there.registry, password)
  log(`image-relay serves ${there.registry}`)
  await work(relay, inputs, there)
})

/** Give the relay of this job, and the password that it has. */
async function findOrStart(inputs) {
  const found = await findRelay(inputs)
  if (!found) {
    const password = newPassword(inputs.password)
    return { ...(await startRelay(inputs, password)), password }
  }
  log(`the relay is ${found.started ? "the one that an earlier step has started" : `the service container ${found.alias}`}`)
  checkFound(found, inputs)
  return { there: found, password: passwordOf(found, inputs.password) }
}

/** Find the relay of this job: the process that an earlier step has started, or else a container. */
async function findRelay(inputs) {
  const running = inputs.mode === "container" ? undefined : await findProcess(inputs)
  if (inputs.mode === "process") return choose(running ? [running] : [], inputs.address)
  return running && isCalled(running, inputs.address) ? running : find(inputs)
}

function newPassword(wanted) {
  const password = wanted === "auto" ? randomBytes(24).toString("base64url") : wanted
  if (password) mask(password)
  return password
}

/** Of what an earlier step has started the engine knows the password. That of a service is for the workflow to say. */
function passwordOf(found, wanted) {
  const password = found.started ? variable(found, "RELAY_PASSWORD") : wanted
  if (password) mask(password)
  return password
}

function checkFound(found, inputs) {
  if (inputs.password === "auto" && !found.started) {
    throw new Failure(
      `password: auto is for a relay that this action starts; the service ${found.alias} has its own: set RELAY_PASSWORD ` +
        "in its env to a secret, and password to the same",
    )
  }
  const days = Number(variable(found, "RELAY_RETENTION_DAYS") || 3)
  if (inputs.retentionDays > days) {
    const where = found.started ? "the first use of this action" : `the env of the service ${found.alias}`
    annotate("warning", `retention-days: images are kept for ${days} days; for more set RELAY_RETENTION_DAYS in ${where}`)
  }
}

function variable(found, name) {
  const line = found.environment.find((each) => each.startsWith(`${name}=`))
  return line ? line.slice(name.length + 1) : ""
}

/** Leave for the end of the job what that needs. */
function keep(inputs, there, password, first) {
  remember("url", there.url)
  remember("password", password)
  remember("summary", String(first && inputs.summary))
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
