// A job without a relay gets one: as a container where that can be, else as a process.

import * as container from "./container.mjs"
import { defaultImage } from "./action-name.mjs"
import * as ownProcess from "./process.mjs"
import { Failure, log, remember } from "./runner.mjs"

/** Start one as the input `mode` says; returns how it is reached, and whether it has the session already. */
export async function startRelay(inputs, password) {
  if (inputs.mode === "process") return asProcess(inputs, password, "as the input mode says")
  const image = inputs.image || defaultImage()
  try {
    const there = await container.start({ ...inputs, image }, password, (id) => remember("container", id))
    log(`the relay is a container of ${image}`)
    return { there }
  } catch (error) {
    if (!(error instanceof container.NoContainer)) throw error
    if (inputs.mode === "container" || inputs.image) throw error
    return asProcess(inputs, password, error.message)
  }
}

async function asProcess(inputs, password, why) {
  log(`the relay is a process of this job: ${why}`)
  try {
    const there = await ownProcess.start(inputs, password, (left) => remember("process", JSON.stringify(left)))
    return { there, hasSession: true }
  } catch (error) {
    if (!(error instanceof Failure) || inputs.mode === "process") throw error
    throw new Failure(`${error.message}. (It is a process because ${why})`)
  }
}
