// What a job deletes at its end: images that no later job needs, or everything that image-relay stored in the run.

import { Refused } from "./relay.mjs"
import { log } from "./runner.mjs"

/** Delete what main has left for it, if the job ended as that wants; returns what went wrong. */
export async function deleteImages(relay, { images, when }, status) {
  if (!images.length) return []
  if (when === "success" && status !== "success") {
    log(`the job did not succeed (${status || "unknown"}), so its images are kept: ${images.join(", ")}`)
    return []
  }
  const notes = []
  for (const image of images) notes.push(...(await deleteImage(relay, image)))
  return notes
}

async function deleteImage(relay, image) {
  try {
    const { removed, kept } = await (image === "*" ? relay.removeAll() : relay.remove(image))
    for (const each of removed) log(`deleted ${each.reference}`)
    return kept.map((each) => `kept ${each.reference || each.artifact}: ${each.reason}`)
  } catch (error) {
    if (!(error instanceof Refused)) throw error
    if (error.status !== 404) return [`delete: ${image}: ${error.message}`]
    log(`nothing to delete: ${error.message}`) // another job may have, or the name is mistyped
    return []
  }
}
