// The session of this job, which the runner gives to actions alone, and how it is handed over.

import { Refused, Unanswered, VERSION } from "./relay.mjs"
import { Failure } from "./runner.mjs"

const LONGEST = 400 // days; what a relay takes, and more than GitHub keeps anything
const REPOSITORY = /^[A-Za-z0-9_.-]{1,100}\/[A-Za-z0-9_.-]{1,100}$/

/** Check that there is all that is handed over: without it nothing needs to be started. */
export function check(inputs, environment = process.env) {
  if (inputs.from.length && !inputs.token) {
    throw new Failure("from needs a token, and the input token is empty: leave it out, and the job's own is taken (act: -s GITHUB_TOKEN=…)")
  }
  if (environment.ACTIONS_RUNTIME_TOKEN && environment.ACTIONS_RESULTS_URL) return
  throw new Failure(
    "the runner gave no session (ACTIONS_RUNTIME_TOKEN, ACTIONS_RESULTS_URL), so there is no storage for images. " +
      "act: start it with --artifact-server-path DIR. GitHub Enterprise Server has no such artifacts: run image-relay " +
      "with RELAY_STORE=directory there, without this action",
  )
}

/** Write what `PUT /relay/session` takes. */
export function offer(inputs, registry, environment = process.env) {
  const numbers = [inputs.retentionDays, Number(environment.GITHUB_RETENTION_DAYS)]
  const days = numbers.filter((each) => each > 0) // act says 0
  return {
    token: environment.ACTIONS_RUNTIME_TOKEN,
    results_url: environment.ACTIONS_RESULTS_URL,
    repository: REPOSITORY.test(environment.GITHUB_REPOSITORY ?? "") ? environment.GITHUB_REPOSITORY : "",
    run_id: environment.GITHUB_RUN_ID ?? "",
    run_attempt: environment.GITHUB_RUN_ATTEMPT ?? "",
    public_host: registry,
    retention_days: days.length ? Math.min(...days, LONGEST) : "",
    access: inputs.access,
    action_version: VERSION,
    ...(inputs.from.length ? reading(inputs, environment) : {}),
  }
}

/** Return which other runs are read, and by what. */
function reading(inputs, environment) {
  return { from: inputs.from, github_token: inputs.token, api_url: environment.GITHUB_API_URL || "https://api.github.com" }
}

/** Hand the session over; returns a line for each image of an earlier run that is lost thereby. */
export async function handOver(relay, inputs, registry) {
  try {
    const lost = await relay.takeSession(offer(inputs, registry))
    return lost.map((each) => `${each.reference} of ${each.run} is lost: ${each.problem}; push it again in that run, by a tag`)
  } catch (error) {
    throw explained(error)
  }
}

function explained(error) {
  if (error instanceof Unanswered) return new Failure(`the relay went away while the session was handed over: ${error.message}`)
  if (!(error instanceof Refused)) return error
  if (error.status === 401) {
    return new Failure("the relay has a password: give this action the same one, as  password: ${{ secrets.… }}")
  }
  return new Failure(`the relay does not accept the session of this job: ${error.message}`)
}
