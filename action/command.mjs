// Programs that prepare a process: none is told a secret of the job.

import { spawn } from "node:child_process"

const CANCELLED = ["SIGINT", "SIGTERM"] // what a job that is cancelled sends to its step
const KEPT = 16 * 1024 // characters of what a program says that are kept
const TOLD = /^(ACTIONS_|INPUT_|STATE_|GITHUB_|RELAY_)/ // what the runner tells the action alone, or what is a setting

const running = new Set()

/** Run a program, which ends with this step; returns its status, or nothing where there is no such program, and what it said. */
export function execute(program, args, { environment = {}, cwd, limit } = {}) {
  return new Promise((resolve) => {
    const env = { ...withoutSecrets(process.env), ...environment }
    const child = spawn(program, args, { env, cwd, timeout: limit, stdio: ["ignore", "pipe", "pipe"] })
    if (!running.size) CANCELLED.forEach((signal) => process.on(signal, endAll))
    running.add(child)
    const ended = (result) => {
      running.delete(child)
      if (!running.size) CANCELLED.forEach((signal) => process.off(signal, endAll))
      resolve(result)
    }
    let [out, said] = ["", ""]
    child.stdout.setEncoding("utf8").on("data", (chunk) => (out = (out + chunk).slice(-KEPT)))
    child.stderr.setEncoding("utf8").on("data", (chunk) => (said = (said + chunk).slice(-KEPT)))
    child.on("error", () => ended({ status: undefined, out: "", said: "" }))
    child.on("close", (status) => ended({ status, out: out.trim(), said: said.trim() }))
  })
}

function endAll() {
  running.forEach((child) => child.kill("SIGKILL"))
  process.exit(1)
}

function withoutSecrets(environment) {
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !TOLD.test(name)))
}
