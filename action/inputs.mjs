// The inputs of action.yml, checked. A mistake is a Failure that says how it should look.

import { Failure, input } from "./runner.mjs"

const NAME = /^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$/ // distribution-spec, end-3
const TAG = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/
const DIGEST = /^sha(256|512):[a-f0-9]{64,128}$/

/** Read every input. */
export function readInputs(environment = process.env) {
  const given = (name) => input(name, environment)
  return {
    address: given("address"),
    port: number("port", given("port") || "5000", 0, 65535),
    image: local("image", given("image")),
    access: oneOf("access", given("access") || "write", ["write", "read"]),
    password: given("password"),
    retentionDays: given("retention-days") ? number("retention-days", given("retention-days"), 1, 400) : undefined,
    wait: words(given("wait")).map((word) => reference("wait", word)),
    waitSeconds: number("wait-seconds", given("wait-seconds") || "600", 0, 86400),
    save: words(given("save")).map(saving),
    load: words(given("load")).map((word) => reference("load", word)),
    summary: oneOf("summary", given("summary") || "true", ["true", "false"]) === "true",
    job: context("job", given("job")),
    matrix: given("matrix"),
  }
}

/** Read a reference as the relay knows it: a name and a tag or digest, `latest` if there is none, no host. */
export function reference(where, text) {
  const { name, tag, digest } = split(withoutHost(text))
  if (!NAME.test(name) || !(digest ? DIGEST.test(digest) : TAG.test(tag))) {
    throw new Failure(`${where}: ${text} is no image; write it as app, app:v1 or app@sha256:…, one on a line`)
  }
  return { name, reference: digest || tag, text: digest ? `${name}@${digest}` : `${name}:${tag}` }
}

/** Read `local` or `local=reference`: which image of the engine, and what it is called in the relay. */
function saving(word) {
  const [source, as] = word.split("=")
  const target = reference("save", as || source)
  if (target.text.includes("@")) {
    throw new Failure(`save: ${word} has a digest for a name; give it a tag: ${source}=${target.name}:v1`)
  }
  return { local: local("save", source), target }
}

function withoutHost(text) {
  const [first, ...rest] = text.split("/")
  const isHost = rest.length > 0 && (first === "localhost" || /[.:]/.test(first)) // as docker tells them apart
  return isHost ? rest.join("/") : text
}

function split(text) {
  const [tagged, digest = ""] = text.split("@")
  const at = tagged.lastIndexOf(":")
  return at > 0 ? { name: tagged.slice(0, at), tag: tagged.slice(at + 1), digest } : { name: tagged, tag: "latest", digest }
}

function words(text) {
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

/** Check a name of an image as the engine knows it: above all that docker does not take it for an option. */
function local(where, name) {
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
