// What a use of the action asks of a relay that runs already: an earlier step has started it, or it is a service.

import { PORT, words } from "./inputs.mjs"
import { Failure } from "./runner.mjs"
import { chosen, pick } from "./settings.mjs"

const INPUTS = { RELAY_WAIT: "wait-pull", RELAY_UPSTREAMS: "upstreams", RELAY_UPSTREAM_AUTH: "upstream-auth" }

/** Return the value of a variable that a relay was started with; nothing if it has none, or nobody knows. */
export function variable(found, name) {
  const line = found.environment.find((each) => each.startsWith(`${name}=`))
  return line ? line.slice(name.length + 1) : ""
}

/** Refuse a password that this relay does not have. Of a service only the workflow knows it. */
export function checkPassword(found, wanted) {
  if (!wanted) return
  if (!found.started) {
    if (wanted !== "auto") return
    throw new Failure(
      `password: auto is for a relay that this action starts; the service ${found.alias} has its own: set RELAY_PASSWORD ` +
        "in its env to a secret, and password to the same",
    )
  }
  const password = variable(found, "RELAY_PASSWORD")
  if (!password) {
    throw new Failure(
      "password: an earlier step has started the relay of this job without one, so everybody on this machine can use it; " +
        "set password in the first use of this action",
    )
  }
  if (wanted !== "auto" && wanted !== password) {
    throw new Failure("password: an earlier step has started the relay of this job with another one; leave password out here")
  }
}

/** Return what of this use has no effect any more, each in one sentence. */
export function ineffective(found, inputs, environment = process.env) {
  const where = found.started ? "the env of the first step that uses this action" : `the env of the service ${found.alias}`
  const isKnown = found.started || found.environment.length > 0
  const given = { RELAY_WAIT: inputs.waitPull, RELAY_UPSTREAMS: inputs.upstreams, RELAY_UPSTREAM_AUTH: inputs.upstreamAuth }
  const asked = { ...pick(given, Object.keys(given)), ...chosen(environment) }
  const differs = (name) => words(asked[name]).join(" ") !== words(variable(found, name)).join(" ") // some are lists
  const differing = Object.keys(asked).filter((name) => isKnown && name !== "RELAY_RETENTION_DAYS" && differs(name))
  const sentences = differing.map((name) => {
    const what = environment[name] ? name : (INPUTS[name] ?? name)
    return `${what} has no effect here: the relay runs already; set ${name} in ${where}`
  })
  if (inputs.port && found.port && ![PORT, Number(found.port)].includes(inputs.port)) {
    sentences.push(`port has no effect here: the relay runs already, at port ${found.port}`)
  }
  if (inputs.image && found.started && found.image !== inputs.image) {
    sentences.push(`image has no effect here: the relay runs already, ${found.image ? `as ${found.image}` : "as a process"}`)
  }
  const days = Number(variable(found, "RELAY_RETENTION_DAYS") || 3)
  const wanted = inputs.retentionDays ?? Number(chosen(environment).RELAY_RETENTION_DAYS ?? 0)
  return isKnown && wanted > days
    ? [...sentences, `retention-days: images are kept for ${days} day${days === 1 ? "" : "s"}; for more set RELAY_RETENTION_DAYS in ${where}`]
    : sentences
}
