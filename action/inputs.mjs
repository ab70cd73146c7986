// The inputs of action.yml, checked. A mistake is a Failure that says how it should look.

import { readFileSync } from "node:fs"
import { isPlaceholder } from "./action-name.mjs"
import { isId, parse } from "./references.mjs"
import { Failure, input } from "./runner.mjs"
import { nearest } from "./spelling.mjs"

export const PORT = 5000 // where none is asked for
const LAST_PORT = 65535
const LONGEST_WAIT = 21_600 // seconds, as RELAY_WAIT allows
const SECONDS = { "": 1, s: 1, m: 60, h: 3600 }

/** Read every input. */
export function readInputs(environment = process.env) {
  const known = ["status"]
  const given = (name) => {
    known.push(name)
    return input(name, environment)
  }
  const inputs = {
    address: given("address"),
    port: number("port", given("port") || String(PORT), 0, LAST_PORT),
    mode: mode(given("mode") || "auto", given("image")),
    image: given("image") && startable("image", given("image")),
    access: oneOf("access", given("access") || "write", ["write", "read"]),
    password: given("password"),
    retentionDays: given("retention-days") ? number("retention-days", given("retention-days"), 1, 400) : undefined,
    wait: words(given("wait")).map((word) => reference("wait", word)),
    waitSeconds: number("wait-seconds", given("wait-seconds") || "600", 0, 86400),
    save: storing(words(given("save")).map(saving), given("access")),
    load: distinct(words(given("load")).map(loading)),
    platform: platform(given("platform")),
    delete: deleting(words(given("delete")), given("access")),
    deleteIf: oneOf("delete-if", given("delete-if") || "success", ["success", "always"]),
    from: words(given("from") || environment.RELAY_FROM || "").map((word) => run(word, environment)),
    token: given("token"),
    waitPull: span("wait-pull", given("wait-pull")),
    upstreams: words(given("upstreams")).map(registry).join(","),
    upstreamAuth: given("upstream-auth").split(/\s+/).filter(Boolean).map(login).join("\n"),
    summary: oneOf("summary", given("summary") || "true", ["true", "false"]) === "true",
    job: context("job", given("job")),
    matrix: given("matrix"),
  }
  return { ...inputs, doubts: doubtful(known, environment) }
}

/** Return the passwords in logins such as ghcr.io=user:token; the host may have a port. */
export function passwords(logins) {
  return logins.split(/\s+/).filter(Boolean).map((login) => login.replace(/^[^=]*=[^:]*:/, ""))
}

/** Return another port for one that is taken. */
export function nextPort(port) {
  return port < LAST_PORT ? port + 1 : port - 1
}

/**
 * Return which inputs may have been mistyped; a variable of the workflow, such as INPUT_MODEL, looks the same. act and its kin
 * show the action the inputs of an action that uses it, too: there nothing is said.
 */
function doubtful(known, environment) {
  if (environment.ACT || environment.GITEA_ACTIONS || environment.FORGEJO_ACTIONS) return []
  const given = Object.keys(environment).filter((name) => name.startsWith("INPUT_") && environment[name])
  const unknown = given.map((name) => name.slice("INPUT_".length).toLowerCase()).filter((name) => !known.includes(name))
  const meant = unknown.map((name) => ({ name, near: nearest(name, known) })).filter(({ near }) => near)
  return meant.map(({ name, near }) => `this action has no input ${name}; did you mean ${near}?`)
}

/** Read a reference; `text` is how it is written in full, `reference` its digest, or else its tag. */
export function reference(where, text) {
  const found = parse(text)
  if (!found) {
    throw new Failure(`${where}: ${text} is not an image name (lower case, no blanks); write it as app, app:v1 or app@sha256:…, one on a line`)
  }
  const { host, path, tag, digest } = found
  const name = host ? `${host}/${path}` : path
  return { host, path, reference: digest || tag || "latest", text: digest ? `${name}@${digest}` : `${name}:${tag || "latest"}` }
}

/** Read a name under which an image is stored or loaded. */
function tagged(where, text) {
  const found = reference(where, text)
  if (found.text.includes("@")) throw new Failure(`${where}: ${text} has a digest for a name; give it a tag: ${found.path}:v1`)
  return found
}

/** Read `local` or `local=reference`: which image of the engine, maybe by its id, and what it is called in the relay. */
function saving(word) {
  const [source, as] = halves("save", word)
  const target = tagged("save", as ?? source)
  return { local: as === undefined ? target.text : known(source), target }
}

/** Check what the engine knows an image by: its id, or a reference. */
function known(source) {
  if (!isId(source)) reference("save", source)
  return source
}

/** Read `reference` or `reference=local`: which image of the relay, and what it is called in the engine. */
function loading(word) {
  const [source, as] = halves("load", word)
  const wanted = reference("load", source)
  return as === undefined ? wanted : { ...wanted, local: tagged("load", as).text }
}

/** Check that no two images are to have one name in the engine. */
function distinct(wanted) {
  const named = new Map()
  for (const { text, local = text } of wanted) {
    const other = named.get(local) ?? text
    if (other !== text) throw new Failure(`load: ${other} and ${text} cannot both be called ${local}`)
    named.set(local, text)
  }
  return wanted
}

function halves(where, word) {
  const [first, second, ...more] = word.split("=")
  if (more.length > 0) throw new Failure(`${where}: ${word} has more than one =`)
  if (!first || second === "") throw new Failure(`${where}: '${word}' lacks a name at one side of its =; write both without a blank: app=team/app:v1`)
  return [first, second]
}

function storing(wanted, access) {
  if (wanted.length && access === "read") throw new Failure("save needs access: write, which is the default; leave access out")
  return wanted
}

/** Read which images go at the end of the job: each in full, or everything. */
function deleting(given, access) {
  if (!given.length) return []
  if (access === "read") throw new Failure("delete needs access: write, which is the default; leave access out")
  if (given.includes("*") && given.length > 1) throw new Failure("delete: * is everything already; leave the others out")
  return given.map((word) => (word === "*" ? word : reference("delete", word).text))
}

/** Read which run is meant: its number, the newest good one of a workflow on a branch, or the one that triggered this one. */
function run(word, environment) {
  if (/^\d{1,20}$/.test(word) || /^[^\s@,/]+\.ya?ml@[^\s,]+$/.test(word)) return word
  if (word !== "triggering") {
    throw new Failure(`from: ${word} is not a run; write its number, build.yml@main, or triggering`)
  }
  const id = event(environment)?.workflow_run?.id
  if (!Number.isSafeInteger(id)) {
    throw new Failure("from: triggering is for workflows that another run triggers: on: {workflow_run: {workflows: […]}}")
  }
  return String(id)
}

function event(environment) {
  try {
    return JSON.parse(readFileSync(environment.GITHUB_EVENT_PATH, "utf8"))
  } catch {
    return undefined
  }
}

function span(name, text) {
  const [, count, unit] = /^(\d+(?:\.\d+)?)([smh]?)$/.exec(text) ?? []
  if (text === "" || count * SECONDS[unit] <= LONGEST_WAIT) return text
  throw new Failure(`${name} is '${text}'; it should be a time such as 90s, 10m or 1h, of 6h at most`)
}

/** Check the host of a registry; a path may follow. */
function registry(text) {
  const [, scheme, host] = /^(https?:\/\/)?(.*?)\/*$/i.exec(text)
  if (!scheme) return text
  throw new Failure(`upstreams: ${text} is an address; write the host alone: ${host}`)
}

/** Check that a login is whole, before anything is started. */
function login(text) {
  const [, host, user, secret] = /^([^=/]*)=([^:]*):(.*)$/.exec(text) ?? []
  if (host && user && secret) return text
  if (host) throw new Failure(`upstream-auth: the login for ${host} lacks its user or its password; pull requests of forks get no secrets`)
  throw new Failure("upstream-auth: a login is written as ghcr.io=user:password, one on a line")
}

function mode(text, image) {
  const chosen = oneOf("mode", text, ["auto", "container", "process"])
  if (chosen !== "process" || !image) return chosen
  throw new Failure("image is for a container, and mode says process; leave one of them out")
}

function platform(text) {
  if (text === "" || text === "all" || /^[a-z0-9]+\/[a-z0-9]+(\/[a-z0-9.]+)?$/.test(text)) return text
  throw new Failure(`platform is '${text}'; write it as linux/arm64, or all`)
}

/** Return the words of a list, which stand on lines, or between commas or blanks. */
export function words(text) {
  return text.split(/[\s,]+/).filter(Boolean)
}

function number(name, text, least, most) {
  if (!/^\d{1,6}$/.test(text) || Number(text) < least || Number(text) > most) {
    throw new Failure(`${name} is '${text}'; it should be a number from ${least} to ${most}`)
  }
  return Number(text)
}

function oneOf(name, text, choices) {
  if (!choices.includes(text)) throw new Failure(`${name} is '${text}'; it should be ${choices.join(" or ")}`)
  return text
}

/** Check the name of the image of a relay: above all that docker does not take it for an option. */
function startable(where, name) {
  if (isPlaceholder(name)) throw new Failure(`${where}: in ${name}, OWNER stands for whoever publishes it; write who that is`)
  if (/^[a-zA-Z0-9][a-zA-Z0-9._:@/-]*$/.test(name)) return name
  throw new Failure(`${where}: '${name}' is no image of Docker; write it as app:v1 or ghcr.io/team/app:v1`)
}

/** Read what the runner says of the job. Only GitHub's own names its services; whatever is not understood is nothing. */
function context(name, text) {
  let said
  try {
    said = JSON.parse(text || "null")
  } catch {
    throw new Failure(`${name} is no JSON; leave this input out, the runner fills it`)
  }
  return { services: said?.services ?? {}, container: said?.container ?? {} }
}
