// Docker, by its command line. Nothing here is told the runtime token: not as an argument, not in an environment.

import { spawn } from "node:child_process"

const PROMPT = 60_000 // milliseconds for what an engine that runs says at once
const HERE = /^(unix:|npipe:|fd:|tcp:\/\/(localhost|127\.[\d.]+|\[::1\])(:|\/|$))/ // addresses of an engine of this machine
const KEPT = 64 * 1024 // characters of what a command says that are kept

/** An engine's refusal; the message is what docker said. */
export class EngineError extends Error {}

/** There is no docker command here, or no engine that answers to it. */
export class EngineAbsent extends EngineError {}

/** Run docker and give what it printed; with `both`, on standard error too. */
export async function docker(args, { input, environment = {}, both = false, limit } = {}) {
  const child = start(args, environment, limit)
  child.stdin.on("error", () => {}) // it ended before it had read all: its exit status says why
  child.stdin.end(input)
  const [out, said] = await Promise.all([text(child.stdout), finished(child, args)])
  return (both ? out + said : out).trim()
}

/** Start docker with open pipes, for `docker save` and `docker load`. `done` settles when it has ended. */
export function stream(args) {
  const child = start(args, {})
  return { stdin: child.stdin, stdout: child.stdout, done: finished(child, args) }
}

/** Ask the engine for its version: an error where it does not answer. */
export async function probe() {
  await docker(["version", "--format", "{{.Server.Version}}"], { limit: PROMPT })
}

/** Return the platform of the images of the engine, such as linux/amd64. */
export async function platform() {
  const [own, arch] = await asked(["version", "--format", "{{.Server.Os}}/{{.Server.Arch}} {{.Server.Arch}}"])
  if (arch !== "arm") return own
  const [machine] = await asked(["info", "--format", "{{.Architecture}}"]) // as uname has it, such as armv7l
  const variant = /^armv([5-9])/.exec(machine)
  return variant ? `${own}/v${Math.min(Number(variant[1]), 7)}` : own // 7 is the last of 32 bits
}

async function asked(args) {
  return (await docker(args, { limit: PROMPT })).split(" ")
}

/** Is there an engine that can be asked? */
export async function isThere() {
  try {
    await probe()
    return true
  } catch (error) {
    if (error instanceof EngineError) return false
    throw error
  }
}

/** Return the address of an engine on another machine: the ports that it publishes are not here. Nothing for one of this machine. */
export async function elsewhere(environment = process.env) {
  const host = environment.DOCKER_HOST || (await ofContext())
  return HERE.test(host) ? "" : host
}

async function ofContext() {
  try {
    return await docker(["context", "inspect", "--format", "{{.Endpoints.docker.Host}}"], { limit: PROMPT })
  } catch (error) {
    if (error instanceof EngineAbsent || !(error instanceof EngineError)) throw error
    return "unix:" // a command without contexts: it knows DOCKER_HOST and the socket alone
  }
}

/** Describe containers; those that are gone meanwhile are left out. */
export async function inspect(ids) {
  const found = await Promise.all(ids.map(inspectOne))
  return found.filter(Boolean)
}

async function inspectOne(id) {
  try {
    return JSON.parse(await docker(["container", "inspect", "--format", "{{json .}}", id], { limit: PROMPT }))
  } catch (error) {
    if (error instanceof EngineAbsent) throw error
    return undefined
  }
}

/** Return the lines that a container has printed. */
export async function logs(id) {
  return (await docker(["logs", "--tail", "2000", id], { both: true })).split("\n")
}

/** Return the ids of running containers with a label. */
export async function labelled(label) {
  const ids = await docker(["ps", "--quiet", "--no-trunc", "--filter", `label=${label}`], { limit: PROMPT })
  return ids.split("\n").filter(Boolean)
}

function start(args, environment, limit) {
  const inherited = Object.entries(process.env).filter(([name]) => !/^(ACTIONS_|INPUT_|STATE_)/.test(name))
  const child = spawn("docker", args, { env: { ...Object.fromEntries(inherited), ...environment } })
  if (limit) setTimeout(() => child.kill("SIGKILL"), limit).unref() // spawn's own time limit keeps this process alive
  return child
}

async function finished(child, args) {
  const said = text(child.stderr)
  const status = await new Promise((resolve, reject) => {
    child.on("error", () => reject(new EngineAbsent("there is no docker command")))
    child.on("close", resolve)
  })
  if (status === 0) return said
  const reason = telling(await said) || `docker ${args[0]} ended with ${status}`
  throw /cannot connect to the docker daemon|failed to connect to the docker api|error during connect/i.test(reason)
    ? new EngineAbsent(reason)
    : new EngineError(reason)
}

/** Return the line that tells what is wrong: that of the engine, or the last one that is no advice. */
function telling(said) {
  const lines = said.split("\n").map((line) => line.trim())
  const ofEngine = lines.find((line) => /error response from daemon: /i.test(line))
  const others = lines.filter((line) => line && !/^(see '|run '|usage:)/i.test(line))
  return (ofEngine ?? others.at(-1) ?? "").replace(/^(docker: |error response from daemon: )+/i, "")
}

async function text(readable) {
  let kept = ""
  for await (const chunk of readable.setEncoding("utf8")) kept = (kept + chunk).slice(-KEPT)
  return kept
}
