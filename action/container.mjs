// The container that the action starts where the job has no service container.

import { docker, elsewhere, EngineAbsent, EngineError, inspect, isThere, logs } from "./engine.mjs"
import { jobKey, OURS, describe } from "./find-relay.mjs"
import { nextPort } from "./inputs.mjs"
import { reasons, Relay } from "./relay.mjs"
import { privateHost } from "./remote.mjs"
import { Failure, group, log, newPassword } from "./runner.mjs"
import { settings } from "./settings.mjs"

const PULLS = 3 // times that the image is asked for
const PAUSE = 3_000 // milliseconds between two of them
const START = 60_000 // milliseconds until it has to answer
const REACHED = 5_000 // milliseconds until one that answers in its container has to answer here too
const FINAL = /denied|not found|manifest unknown|unauthorized|forbidden|does not exist/i // answers that stay as they are

/** This job can have no container; the message says why, and what to do if there has to be one. */
export class NoContainer extends Failure {}

/**
 * Start a relay for this job; `known` is told its id as soon as there is one. Gives how it is reached. On the machine of an
 * engine elsewhere, others may reach its port: there it always has a password.
 */
export async function start(inputs, password, known) {
  if (!(await isThere())) {
    throw new NoContainer(
      "this job has no image-relay, and none can be started without Docker. Use a runner with Docker " +
        "(ubuntu-latest has it), or add image-relay to the services of this job",
    )
  }
  const engine = await elsewhere()
  const host = engine ? await privateHost(engine) : ""
  if (engine && !host) {
    throw new NoContainer(
      `the Docker engine is on another machine (${engine}), which is in no private network; nothing was handed over. ` +
        "Use an engine of this machine, such as unix:///var/run/docker.sock, or one in a network of this job",
    )
  }
  if (host) log(`the Docker engine is on another machine (${engine}), whose ports are reached as ${host}; the relay has a password`)
  if (!inputs.image) {
    throw new NoContainer("there is no image for an action without a name (uses: ./); set the input image")
  }
  await fetchImage(inputs.image)
  const id = await create(inputs, host ? password || newPassword("auto") : password, host)
  known(id)
  try {
    await docker(["start", id])
    return await answering(id, inputs, host)
  } catch (error) {
    if (error instanceof EngineError) throw new Failure(refusal(error.message, inputs.port))
    if (error instanceof NoContainer) {
      await stop(id)
      known("")
    }
    throw error
  }
}

async function fetchImage(image) {
  if (await isHere(image)) return
  for (let tried = 1; ; tried++) {
    try {
      group(`docker pull ${image}`, (await docker(["pull", image])).split("\n"))
      return
    } catch (error) {
      if (!(error instanceof EngineError)) throw error
      if (tried === PULLS || FINAL.test(error.message)) throw new NoContainer(`cannot pull the image ${image}: ${error.message}; check the input image`)
      log(`docker pull: ${error.message}; once more`)
      await pause(PAUSE)
    }
  }
}

async function isHere(image) {
  try {
    await docker(["image", "inspect", "--format", "{{.Id}}", image])
    return true
  } catch (error) {
    if (error instanceof EngineAbsent || !(error instanceof EngineError)) throw error
    return false
  }
}

async function create(inputs, password, host) {
  const environment = { ...settings(inputs), ...(password ? { RELAY_PASSWORD: password } : {}) }
  try {
    return await docker(["create", ...options(inputs, Object.keys(environment), host), inputs.image], { environment })
  } catch (error) {
    if (!(error instanceof EngineError)) throw error
    throw new Failure(`the relay cannot be started: ${error.message}`)
  }
}

/** Return the options of `docker create`. Of variables only names are among them, and the token is in no place at all. */
function options(inputs, passed, host) {
  const network = inputs.job.container.id && inputs.job.container.network
  return [
    ...["--read-only", "--volume", "/data", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"],
    ...["--publish", `${host ? "" : "127.0.0.1:"}${inputs.port || (host ? 0 : "")}:5000`],
    ...["--label", `${OURS}=${jobKey(inputs.matrix)}`],
    ...(network ? ["--network", network, "--network-alias", "image-relay"] : []),
    ...passed.flatMap((name) => ["--env", name]),
  ]
}

function refusal(message, port) {
  if (/already (allocated|in use)/.test(message)) {
    return `port ${port} is taken on this machine, and the process that listens there got no token: set  port: ${nextPort(port)}  (or 0 for any free one)`
  }
  return `the relay cannot be started: ${message}`
}

/** Wait until it answers, and give how it is reached. */
async function answering(id, inputs, host) {
  let end = Date.now() + START
  let isHealthy = false
  let urls = []
  while (Date.now() < end) {
    const [seen] = await inspect([id])
    if (!seen?.State.Running) break
    const there = describe(seen, "image-relay")
    urls = reachable(there, inputs, host)
    for (const url of urls) {
      if (await new Relay(url).health()) return { ...there, url, registry: `localhost:${there.port}` }
    }
    if (!isHealthy && seen.State.Health?.Status === "healthy") {
      isHealthy = true
      end = Math.min(end, Date.now() + REACHED)
    }
    await pause(100)
  }
  if (isHealthy) {
    throw new NoContainer(`the relay runs in a container, but what the Docker engine publishes is not reached from here (${urls.join(", ")})`)
  }
  const why = reasons(await showLog(id)).join("; ")
  if (why) throw new Failure(`the relay does not start: ${why}`)
  throw new Failure(`the relay does not answer; what it said is in this step's log. Does ${inputs.image} run image-relay?`)
}

/** On the machine by its port, in a job container by its place in the network that both are in. */
function reachable(there, inputs, host) {
  const published = there.port ? [`http://${host || "127.0.0.1"}:${there.port}`] : []
  if (!inputs.job.container.id) return published
  return [...there.addresses.map((address) => `http://${address}:5000`), ...(host ? published : [])]
}

/** Let it end, show what it said, and leave nothing of it; returns what went wrong with that. */
export async function stop(id) {
  try {
    await docker(["stop", id])
    await showLog(id)
    await docker(["rm", "--force", "--volumes", id])
    return []
  } catch (error) {
    if (!(error instanceof EngineError)) throw error
    return [`the relay's container could not be removed: ${error.message}`]
  }
}

async function showLog(id) {
  const lines = await logs(id)
  group("the relay's log", lines)
  return lines
}

function pause(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds))
}
