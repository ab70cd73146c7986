// The container that the action starts where the job has no service container.

import { docker, elsewhere, EngineAbsent, EngineError, inspect, isThere } from "./engine.mjs"
import { jobKey, OURS, describe } from "./find-relay.mjs"
import { Relay } from "./relay.mjs"
import { Failure, group, log } from "./runner.mjs"
import { settings } from "./settings.mjs"

const PULLS = 3 // times that the image is asked for
const PAUSE = 3_000 // milliseconds between two of them
const START = 60_000 // milliseconds until it has to answer
const FINAL = /denied|not found|manifest unknown|unauthorized|forbidden|does not exist/i // answers that stay as they are

/** This job can have no container; the message says why, and what to do if there has to be one. */
export class NoContainer extends Failure {}

/** Start a relay for this job; `known` is told its id as soon as there is one. Gives how it is reached. */
export async function start(inputs, password, known) {
  if (!(await isThere())) {
    throw new NoContainer(
      "this job has no image-relay, and none can be started without Docker. Use a runner with Docker " +
        "(ubuntu-latest has it), or add image-relay to the services of this job",
    )
  }
  const host = await elsewhere()
  if (host) {
    throw new NoContainer(
      `the Docker engine is on another machine (${host}), so what it publishes as localhost is not here; nothing was handed ` +
        "over. Use an engine of this machine, such as unix:///var/run/docker.sock",
    )
  }
  if (!inputs.image) {
    throw new NoContainer("there is no image for an action without a name (uses: ./); set the input image")
  }
  await fetchImage(inputs.image)
  const id = await create(inputs, password)
  known(id)
  try {
    await docker(["start", id])
    return await answering(id, inputs)
  } catch (error) {
    if (!(error instanceof EngineError)) throw error
    throw new Failure(refusal(error.message, inputs.port))
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

async function create(inputs, password) {
  const environment = { ...settings(inputs), ...(password ? { RELAY_PASSWORD: password } : {}) }
  try {
    return await docker(["create", ...options(inputs, Object.keys(environment)), inputs.image], { environment })
  } catch (error) {
    if (!(error instanceof EngineError)) throw error
    throw new Failure(`the relay cannot be started: ${error.message}`)
  }
}

/** Give the options of `docker create`. Of variables only names are among them, and the token is in no place at all. */
function options(inputs, passed) {
  const network = inputs.job.container.id && inputs.job.container.network
  return [
    ...["--read-only", "--volume", "/data", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"],
    ...["--publish", `127.0.0.1:${inputs.port || ""}:5000`, "--label", `${OURS}=${jobKey(inputs.matrix)}`],
    ...(network ? ["--network", network, "--network-alias", "image-relay"] : []),
    ...passed.flatMap((name) => ["--env", name]),
  ]
}

function refusal(message, port) {
  if (/already (allocated|in use)/.test(message)) {
    return `port ${port} is taken on this machine, and the process that listens there got no token: set  port: ${port + 1}  (or 0 for any free one)`
  }
  return `the relay cannot be started: ${message}`
}

/** Wait until it answers, and give how it is reached. */
async function answering(id, inputs) {
  const end = Date.now() + START
  while (Date.now() < end) {
    const [seen] = await inspect([id])
    if (!seen?.State.Running) break
    const there = describe(seen, "image-relay")
    for (const url of reachable(there, inputs)) {
      if (await new Relay(url).health()) return { ...there, url, registry: `localhost:${there.port}` }
    }
    await pause(100)
  }
  await showLog(id)
  throw new Failure(`the relay does not answer; what it said is in this step's log. Does ${inputs.image} run image-relay?`)
}

/** On the machine by its port, in a job container by its place in the network that both are in. */
function reachable(there, inputs) {
  const published = there.port ? [`http://127.0.0.1:${there.port}`] : []
  return inputs.job.container.id ? there.addresses.map((address) => `http://${address}:5000`) : published
}

/** Let it end, show what it said, and leave nothing of it; gives what went wrong with that. */
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
  const said = await docker(["logs", "--tail", "2000", id], { both: true })
  group("the relay's log", said.split("\n"))
}

function pause(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds))
}
