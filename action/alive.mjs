// Is a process still the one that was started? Numbers of processes are used again, so the time of its start counts too.

import { spawnSync } from "node:child_process"
import { existsSync, readFileSync } from "node:fs"

const START = 19 // field of /proc/PID/stat behind the name: starttime, in clock ticks since the boot

/** Return when a process has started, in the words of this system; nothing if it has ended. */
export function startOf(pid, proc = "/proc") {
  return existsSync(`${proc}/self/stat`) ? fromProc(pid, proc) : fromPs(pid)
}

/** Does the process run that was started as `pid` at a time that `startOf` gave? */
export function isAlive({ pid, started }, proc = "/proc") {
  return Boolean(started) && startOf(pid, proc) === started
}

function fromProc(pid, proc) {
  try {
    const stat = readFileSync(`${proc}/${pid}/stat`, "utf8")
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ") // the name before it may have any character
    return fields[0] === "Z" ? undefined : fields[START]
  } catch {
    return undefined
  }
}

/** macOS has no /proc. */
function fromPs(pid) {
  const env = { ...process.env, LC_ALL: "C", TZ: "UTC" }
  const { stdout } = spawnSync("ps", ["-o", "state=,lstart=", "-p", String(pid)], { env, encoding: "utf8" })
  const [, state, start] = /^(\S+)\s+(.*\S)/.exec(stdout?.trim() ?? "") ?? []
  return state?.startsWith("Z") ? undefined : start
}
