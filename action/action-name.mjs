// By which name this action was used, and what is published under that name.

import { VERSION } from "./relay.mjs"

/** Return the image that a release publishes beside the action; nothing for `uses: ./`, which has no name. */
export function defaultImage(environment = process.env) {
  const repository = (environment.GITHUB_ACTION_REPOSITORY ?? "").toLowerCase() // as names of images are
  return repository ? `ghcr.io/${repository}:${VERSION}` : ""
}

/** Return what stands behind `uses:` in the workflow; nothing for `uses: ./`. */
export function actionName(environment = process.env) {
  const { GITHUB_ACTION_REPOSITORY: repository, GITHUB_ACTION_REF: ref } = environment
  return repository && ref ? `${repository}@${ref}` : ""
}

/** Is this the name of an example, whose owner may be anybody? */
export function isPlaceholder(image) {
  return /(^|\/)OWNER\//.test(image)
}
