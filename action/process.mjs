// The relay as a process of this job, where there is no engine, or no image that could be had.

import { spawn } from "node:child_process"
import { createHmac, randomBytes } from "node:crypto"
import { once } from "node:events"
import { closeSync, existsSync, openSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { isAlive, startOf } from "./alive.mjs"
import { nextPort } from "./inputs.mjs"
import { install } from "./packages.mjs"
import * as records from "./record.mjs"
import { Relay, Unanswered, Refused } from "./relay.mjs"
import { Failure, group, log } from "./runner.mjs"
import { offer } from "./session.mjs"
import { pick, settings } from "./settings.mjs"

const BOOT =
  "import sys; sys.path[:0] = sys.argv[1:]; from proxy.runtime import garbage; garbage.pause(); " +
  "from proxy.job_process import main; main()"
const START = 60_000 // milliseconds until it has to serve
const END = 9_000 // milliseconds that it has to end; it takes eight at most
const LINES = 2000 // of its log that are shown
const KEPT = [
  ...["PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR"],
  ...["GITHUB_ACTIONS", "GITHUB_SERVER_URL"], // under GitHub, the token goes to GitHub alone
  "RUNNER_TRACKING_ID", // by which the runner ends what a cancelled job has left
]

/**
 * Start one that has the session; returns how it is reached. `known` is told what its end needs as soon as it is there: its folder,
 * then what it is by, and at last that it serves.
 */
export async function start(inputs, password, known) {
  if (process.platform === "win32") {
    throw new Failure("image-relay does not run on Windows: let this job run on Linux or macOS")
  }
  const [folder, session] = [records.folderOf(inputs.matrix), offer(inputs, "")]
  records.make(folder)
  known({ folder })
  const { python, paths } = await install(folder)
  const child = launch(inputs, folder, python, paths)
  const identity = { pid: child.pid, started: child.pid && startOf(child.pid) }
  const nonce = randomBytes(32).toString("hex")
  try {
    known({ folder, ...identity })
  } catch (error) {
    child.kill("SIGKILL") // else this step would wait for it
    throw error
  }
  const answer = await told(child, { password, nonce, session })
  if (!answer.port) throw new Failure(refusal(answer, inputs.port, folder))
  const set = Object.entries({ ...settings(inputs), RELAY_PASSWORD: password }).filter(([name]) => name.startsWith("RELAY_"))
  const environment = set.map((each) => each.join("="))
  const there = { port: String(answer.port), environment }
  records.write(folder, { ...identity, ...there, nonce })
  known({ folder, ...identity, serves: true })
  return place(there)
}

/** Find the one that an earlier step of this job has started. What listens there has to prove that it is that one. */
export async function find(inputs) {
  const folder = records.folderOf(inputs.matrix)
  const record = records.read(folder)
  if (!record) return undefined
  if (!isAlive(record)) {
    log("the relay of an earlier step has ended")
    showLog(folder) // a new one takes its place
    return undefined
  }
  const found = place(record)
  if (await proves(found, record.nonce)) return found
  throw new Failure(`port ${record.port} does not answer as the relay of this job: another process may have taken the port, or the relay hangs; nothing was handed over`)
}

async function proves(found, nonce) {
  const challenge = randomBytes(32).toString("hex")
  try {
    const proof = await new Relay(found.url).proof(challenge)
    return proof === createHmac("sha256", nonce).update(challenge).digest("hex")
  } catch (error) {
    if (error instanceof Unanswered || error instanceof Refused) return false
    throw error
  }
}

function place({ port, environment }) {
  const registry = `localhost:${port}`
  return { alias: "image-relay", addresses: [], started: true, environment, port, url: `http://127.0.0.1:${port}`, registry }
}

function launch(inputs, folder, python, paths) {
  const said = openSync(join(folder, "log"), "a", 0o600)
  const args = ["-I", "-S", "-c", BOOT, ...paths]
  const own = { RELAY_PORT: String(inputs.port), RELAY_DATA: join(folder, "data") }
  const env = { ...pick(process.env, KEPT), ...settings(inputs), ...own }
  const child = spawn(python, args, { cwd: folder, env, detached: true, stdio: ["pipe", "pipe", said] })
  closeSync(said)
  return child
}

/** Tell it what it needs and hear how it went; after that nothing keeps this step waiting for it. */
async function told(child, what) {
  child.stdin.on("error", () => {}) // it ended before it had read all: its log says why
  child.stdin.end(JSON.stringify(what))
  const timer = setTimeout(() => child.kill("SIGKILL"), START)
  const line = await new Promise((resolve) => {
    let heard = ""
    child.on("error", (error) => resolve(JSON.stringify({ problem: error.message })))
    child.stdout.setEncoding("utf8").on("data", (chunk) => (heard += chunk).includes("\n") && resolve(heard))
    child.stdout.on("close", () => resolve(heard))
  })
  clearTimeout(timer)
  child.stdout.destroy()
  const answer = line ? JSON.parse(line) : {}
  if (!answer.port && child.pid && child.exitCode === null) {
    const ended = once(child, "exit")
    child.kill("SIGKILL")
    await ended
  }
  child.unref()
  return answer
}

function refusal({ taken, problem }, port, folder) {
  if (taken) {
    const who = process.platform === "darwin" && port === 5000 ? " (by AirPlay Receiver, as a rule)" : ""
    return (
      `port ${port} is taken on this machine${who}, and the process that listens there got no token: ` +
      `set  port: ${nextPort(port)}  (or 0 for any free one)`
    )
  }
  if (problem) return `the relay cannot be started as a process: ${problem}`
  showLog(folder)
  return "the relay cannot be started as a process; what it said is in this step's log"
}

/**
 * Let the process end that `start` has told of, show what it said, and leave nothing of it; returns what went wrong with that. What it
 * is by comes from the runner alone: others may have changed, or removed, what is in the folder.
 */
export async function stop({ folder, serves, ...identity }) {
  const isEarly = serves && !isAlive(identity)
  await end(identity)
  const notes = isEarly ? ["the relay's process ended before the end of the job"] : []
  try {
    const isThere = records.isThere(folder)
    if (isThere && (serves || existsSync(join(folder, "log")))) showLog(folder)
    if (!isThere && serves && !isEarly) notes.push(`a step of this job has removed ${folder}, and the relay's log with it`)
    records.remove(folder)
  } catch (error) {
    notes.push(error.message)
  }
  return notes
}

async function end(record) {
  const last = Date.now() + END
  for (let signal = "SIGTERM"; isAlive(record); signal = Date.now() < last ? 0 : "SIGKILL") {
    try {
      process.kill(record.pid, signal)
    } catch (error) {
      if (error.code !== "ESRCH") throw error
    }
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

function showLog(folder) {
  const file = join(folder, "log")
  const lines = existsSync(file) ? readFileSync(file, "utf8").trimEnd().split("\n") : ["a step of this job has removed it"]
  group("the relay's log", lines.slice(-LINES))
}
