// Does the engine of this machine reach a relay that is a process? It may be rootless, in a virtual machine, or outside
// of the container that this job runs in.

import { randomBytes } from "node:crypto"
import { docker, EngineError, isThere } from "./engine.mjs"
import { annotate } from "./runner.mjs"

const LIMIT = 30_000 // milliseconds for the engine to ask for what does not exist

/** Return whether clients that work in the engine can use this relay; log what to do if not. Without an engine nobody asks. */
export async function probe(relay, registry) {
  if (!(await isThere())) return false
  const before = await relay.requests()
  try {
    await docker(["pull", `${registry}/image-relay-probe@sha256:${randomBytes(32).toString("hex")}`], { limit: LIMIT })
  } catch (error) {
    if (!(error instanceof EngineError)) throw error // it says that there is no such image, whoever it has asked
  }
  if ((await relay.requests()) > before) return true
  annotate(
    "notice",
    `the Docker engine does not reach ${registry}, so docker push and docker pull cannot use this relay: the engine is ` +
      "rootless, on another machine, or this job runs in a container. The inputs save and load work, and so do programs " +
      "of this job such as skopeo, crane and regctl. For docker push, add image-relay to the services of this job",
  )
  return false
}
