// What the relay that the action starts gets of the environment of the step.

const OWN = new Set([
  ...["RELAY_HOST", "RELAY_PORT", "RELAY_DATA", "RELAY_PUBLIC_HOST", "RELAY_STORE", "RELAY_PASSWORD"],
  "RELAY_FROM", // goes with the session, since it takes a token
])
const PROXIES = ["HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"]

/** Give the variables that are passed on: settings that are for the workflow to choose, and proxies. */
export function settings(inputs, environment = process.env) {
  const chosen = Object.keys(environment).filter((name) => name.startsWith("RELAY_") && !OWN.has(name))
  const passed = pick(environment, [...chosen, ...PROXIES])
  if (inputs.retentionDays) passed.RELAY_RETENTION_DAYS ??= String(inputs.retentionDays)
  if (inputs.waitPull) passed.RELAY_WAIT ??= inputs.waitPull
  return { ...passed, RELAY_STORE: "actions" }
}

/** Give those of the variables that have a value. */
export function pick(environment, names) {
  return Object.fromEntries(names.filter((name) => environment[name]).map((name) => [name, environment[name]]))
}
