// What passes between this step and the runner: inputs and state in, outputs, annotations and masks out.
// Text from outside is made inert in one place, here, before it is printed.

import { randomBytes, randomUUID } from "node:crypto"
import { appendFileSync } from "node:fs"

const LIMIT = 4000 // characters of one annotation; GitHub cuts them at 4 KiB

/** What ends this step as failed; the message says what to change. */
export class Failure extends Error {}

/** Return an input as the runner passes it: trimmed, empty where there is none. */
export function input(name, environment = process.env) {
  return (environment[`INPUT_${name.toUpperCase()}`] ?? "").trim()
}

/** Return what main has left for post. */
export function recall(name) {
  return process.env[`STATE_${name}`] ?? ""
}

export function remember(name, value) {
  write("GITHUB_STATE", name, value)
}

export function output(name, value) {
  write("GITHUB_OUTPUT", name, value)
}

/** Give a variable to the later steps of this job, and to their uses of the action. */
export function exportVariable(name, value) {
  write("GITHUB_ENV", name, value)
}

/** Append Markdown to the summary of the job. */
export function summarize(markdown) {
  append("GITHUB_STEP_SUMMARY", markdown.endsWith("\n") ? markdown : `${markdown}\n`)
}

/** Let the runner show *** wherever this is printed. */
export function mask(secret) {
  console.log(`::add-mask::${escape(secret)}`)
}

/** Return the password that is wanted, or for `auto` a new one, masked. */
export function newPassword(wanted) {
  const password = wanted === "auto" ? randomBytes(24).toString("base64url") : wanted
  if (password) mask(password)
  return password
}

/** Print one line, whatever is in it. */
export function log(text) {
  console.log(inert(text))
}

/** Print lines under a heading, such that nothing in them is a command. */
export function group(title, lines) {
  const end = randomUUID()
  console.log(`::group::${escape(inert(title))}`)
  console.log(`::stop-commands::${end}`)
  for (const line of lines) log(line)
  console.log(`::${end}::`)
  console.log("::endgroup::")
}

/** Make an annotation: `error`, `warning` or `notice`. A message has one line for each part. */
export function annotate(level, ...parts) {
  const message = parts.map(inert).join("\n").slice(0, LIMIT)
  console.log(`::${level} title=image-relay::${escape(message)}`)
}

/** Return a text on one line, without control characters, bidi overrides and what the runner takes for a command. */
export function inert(text) {
  return String(text)
    .replace(/[\p{C}\p{Zl}\p{Zp}]/gu, "\uFFFD")
    .replace(/:(?=:)/g, ": ")
    .replace(/##(?=\[)/g, "# #")
}

/** Run a step. A Failure, or anything else that is thrown, becomes an error annotation and a failed step. */
export async function run(step) {
  try {
    await step()
  } catch (error) {
    const unforeseen = error instanceof Failure ? [] : ["this is a fault of image-relay's action; please report it"]
    annotate("error", error.message, ...unforeseen)
    process.exitCode = 1
  }
}

function write(file, name, value) {
  const end = randomUUID()
  append(file, `${name}<<${end}\n${value}\n${end}\n`)
}

function append(file, text) {
  const path = process.env[file]
  if (path) appendFileSync(path, text) // without one nobody listens: not under a runner, or under an old one
}

function escape(text) {
  return text.replaceAll("%", "%25").replaceAll("\r", "%0D").replaceAll("\n", "%0A")
}
