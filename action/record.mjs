// Where a process of this job leaves what later uses of the action, and its end, need. Only this user may read it.

import { chmodSync, lstatSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { jobKey } from "./find-relay.mjs"
import { Failure } from "./runner.mjs"

const NAME = "process.json"

/** Return the folder of this job, which need not be there. */
export function folderOf(matrix, environment = process.env) {
  return join(environment.RUNNER_TEMP || tmpdir(), `image-relay-${jobKey(matrix, environment)}`)
}

/** Remove it with all that is in it. What a step has begun that was killed may write to it for a moment; Node waits for that, but leaves it. */
export function remove(folder) {
  for (let tries = 1; ; tries++) {
    try {
      return rmSync(folder, { recursive: true, force: true, maxRetries: 3, retryDelay: 200 })
    } catch (error) {
      if (error.code !== "ENOTEMPTY" || tries === 5) throw error
    }
  }
}

/** Make it anew. */
export function make(folder) {
  if (isThere(folder)) remove(folder)
  mkdirSync(folder, { mode: 0o700, recursive: true })
  chmodSync(folder, 0o700) // whatever the mask of this user is
}

export function write(folder, record) {
  const path = join(folder, NAME)
  writeFileSync(`${path}.new`, JSON.stringify(record), { mode: 0o600 })
  renameSync(`${path}.new`, path)
}

/** Read it; nothing if there is none. */
export function read(folder) {
  if (!isThere(folder)) return undefined
  try {
    return JSON.parse(readFileSync(join(folder, NAME), "utf8"))
  } catch {
    return undefined
  }
}

/** Is there such a folder, and is it ours alone? In a folder for everybody, others could have made it. */
export function isThere(folder) {
  const found = lstatSync(folder, { throwIfNoEntry: false })
  if (!found) return false
  if (found.isDirectory() && found.uid === process.getuid() && (found.mode & 0o077) === 0) return true
  throw new Failure(`${folder} belongs to somebody else, or is open to others, so what is in it is not trusted. Remove it`)
}
