// References of images, read as the Go module distribution/reference does. The same grammar in Python is
// proxy/oci/references.py; both are held to one table of cases.

const HOST = /^(?:[a-zA-Z0-9]+(?:-+[a-zA-Z0-9]+)*(?:\.[a-zA-Z0-9]+(?:-+[a-zA-Z0-9]+)*)*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?$/
const PATH = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/
const TAG = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/
const DIGEST = /^(?:sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128})$/
const ID = /^(?:(?:sha256:)?[a-f0-9]{64}|sha512:[a-f0-9]{128})$/
const HUB = ["docker.io", "index.docker.io"]
const LONGEST = 255 // characters of a path

/**
 * Read `[host/]path[:tag][@digest]`; nothing for what is no reference, such as the id of an image. Host, tag and digest are
 * empty where there is none; Docker Hub is no host, and its official images are without `library/`.
 */
export function parse(text) {
  if (isId(text)) return undefined
  const [host, rest] = splitHost(text)
  const [tagged, digest] = cut(rest, "@")
  const [path, tag] = cut(tagged, ":")
  const sound =
    (host === "" || HOST.test(host)) &&
    path.length <= LONGEST &&
    PATH.test(path) &&
    (tag === undefined || TAG.test(tag)) &&
    (digest === undefined || DIGEST.test(digest))
  if (!sound) return undefined
  const official = host === "" || HUB.includes(host)
  return { host: official ? "" : host, path: official ? short(path) : path, tag: tag ?? "", digest: digest ?? "" }
}

/** Is a text the whole id of an image, and so no name? */
export function isId(text) {
  return ID.test(text)
}

/** Part the host from the rest: the first component, if it has a dot, a colon or a capital, or is `localhost`; not `a_b.c`. */
function splitHost(text) {
  const [first, rest] = cut(text, "/")
  const isHost = rest !== undefined && (first === "localhost" || first !== first.toLowerCase() || /[.:]/.test(first))
  const isPart = !HOST.test(first) && PATH.test(first)
  return isHost && !isPart ? [first, rest] : ["", text]
}

function short(path) {
  return /^library\/[^/]+$/.test(path) ? path.slice("library/".length) : path
}

function cut(text, at) {
  const found = text.indexOf(at)
  return found < 0 ? [text, undefined] : [text.slice(0, found), text.slice(found + 1)]
}
