// What the relay that the action starts gets of the environment of the step.

import { actionName } from "./action-name.mjs"
import { Failure } from "./runner.mjs"
import { nearest } from "./spelling.mjs"

const OWN = [
  ...["RELAY_HOST", "RELAY_PORT", "RELAY_DATA", "RELAY_PUBLIC_HOST", "RELAY_STORE", "RELAY_PASSWORD"],
  "RELAY_FROM", // goes with the session, since it takes a token
  "RELAY_RUN_ID", // of a relay that takes no session
]
const PROXIES = ["HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"]
const INJECTED = /^RELAY_(\w+_)?(SERVICE|PORT)_\w+$/ // by Kubernetes, for a Service called relay
const FOR_WORKFLOWS = [
  ...["RELAY_SPOOL_LIMIT", "RELAY_MEMORY_BUDGET", "RELAY_ARTIFACT_PREFIX", "RELAY_ARTIFACT_FORMAT", "RELAY_RETENTION_DAYS"],
  ...["RELAY_OVERWRITE", "RELAY_UPLOAD_CONCURRENCY", "RELAY_DOWNLOAD_CONCURRENCY", "RELAY_TRUSTED_HOSTS"],
  ...["RELAY_TRUST_FORKS", "RELAY_ACCESS", "RELAY_COMPRESSION_LEVEL", "RELAY_SETTLE_SECONDS", "RELAY_WAIT"],
  ...["RELAY_UPSTREAMS", "RELAY_UPSTREAM_AUTH", "RELAY_UPSTREAM_KEEP"],
  ...["RELAY_LOG_FORMAT", "RELAY_LOG_LEVEL"],
]
export const KNOWN = [...OWN, ...FOR_WORKFLOWS]

/** Return the variables that are passed on: settings that are for the workflow to choose, and proxies. */
export function settings(inputs, environment = process.env) {
  const chosen = Object.keys(environment).filter((name) => name.startsWith("RELAY_") && !OWN.includes(name))
  const passed = pick(environment, [...chosen, ...PROXIES])
  if (inputs.retentionDays) passed.RELAY_RETENTION_DAYS ??= String(inputs.retentionDays)
  if (inputs.waitPull) passed.RELAY_WAIT ??= inputs.waitPull
  if (inputs.upstreams) passed.RELAY_UPSTREAMS ??= inputs.upstreams
  if (inputs.upstreamAuth) passed.RELAY_UPSTREAM_AUTH ??= inputs.upstreamAuth
  const name = actionName(environment)
  return { ...passed, ...(name ? { IMAGE_RELAY_ACTION: name } : {}), RELAY_STORE: "actions" }
}

/** Return the settings of the step's environment that are for the workflow to choose. */
export function chosen(environment = process.env) {
  return pick(environment, FOR_WORKFLOWS)
}

/** Refuse variables that cannot be meant, and those that are nearly settings: a later use starts no relay that would refuse them. */
export function checkVariables(environment = process.env) {
  if (environment.RELAY_RUN_ID) {
    throw new Failure(
      "RELAY_RUN_ID is for a relay without this action, which serves the run of its job; to pull what another run has, use the input from",
    )
  }
  const unknown = Object.keys(environment).filter((name) => name.startsWith("RELAY_") && !KNOWN.includes(name) && !INJECTED.test(name))
  const mistaken = unknown.map((name) => ({ name, meant: nearest(name, KNOWN) })).filter(({ meant }) => meant)
  if (!mistaken.length) return
  throw new Failure(
    mistaken.map(({ name, meant }) => `${name} is not a setting of image-relay; did you mean ${meant}?`).join(" "),
  )
}

/** Return those of the variables that have a value. */
export function pick(environment, names) {
  return Object.fromEntries(names.filter((name) => environment[name]).map((name) => [name, environment[name]]))
}
