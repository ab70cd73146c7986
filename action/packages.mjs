// What the process needs: the relay's own code, and of Python's packages exactly the files of the lock, in a folder of this job.
//
// Nothing is built, so no code of a package runs. An index, or a certificate, of the environment is honoured: the hashes
// say what may come from there.

import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { execute } from "./command.mjs"
import { findPython } from "./python.mjs"
import { Failure, group, log } from "./runner.mjs"

const LOCK = join(import.meta.dirname, "requirements.txt")
const WHEELS = join(import.meta.dirname, "..", "wheels") // as tools/download-wheels makes it, where no index can be reached
const LIMIT = 5 * 60_000 // milliseconds to get them
const COMMON = ["--require-hashes", "--only-binary", ":all:", "--no-deps", "--requirement"]
export const OF_COMMANDS = ["aiodocker", "markdown-it-py", "mdurl", "pygments", "rich"] // a relay that serves needs none of these
const ROOT = join(import.meta.dirname, "..") // where the relay's own code is
const SOURCES = ["INDEX_URL", "EXTRA_INDEX_URL", "FIND_LINKS", "NO_INDEX", "TRUSTED_HOST", "CERT", "CLIENT_CERT", "PROXY", "KEYRING_PROVIDER"]
const PATIENCE = ["TIMEOUT", "DEFAULT_TIMEOUT", "RETRIES", "RESUME_RETRIES", "CACHE_DIR", "NO_CACHE_DIR", "CONFIG_FILE"]
const HONOURED = new Set([...SOURCES, ...PATIENCE].map((name) => `PIP_${name}`)) // of what people may have set for themselves
const PIP = { // whatever they have set in a file of pip's
  PIP_REQUIRE_VIRTUALENV: "0",
  PIP_USER: "0",
  PIP_DISABLE_PIP_VERSION_CHECK: "1",
  PIP_ROOT_USER_ACTION: "ignore",
}

/** Put both below a folder of this job; returns the Python that they are for, and the folders where they are. */
export async function install(folder) {
  const uv = (await execute("uv", ["--version"])).status === 0
  const python = await findPython(uv)
  const [code, parts] = [join(folder, "code"), divide(folder, uv ? 1 : 2)]
  const begun = Date.now()
  const { program, args, environment } = uv ? withUv(python) : await withPip(python, folder)
  const run = ({ packages, lock }) =>
    execute(program, [...args, "--target", packages, ...COMMON, lock, ...beside()], { environment, cwd: folder, limit: LIMIT })
  const [, ...runs] = await Promise.all([compile(python, code), ...parts.map(run)])
  const failed = runs.find(({ status }) => status !== 0)
  if (failed) {
    const said = `${failed.out}\n${failed.said}`
    group("what the installation said", said.split("\n").filter((line) => !/^\s*Expected\b.*[0-9a-f]{64}$/.test(line)))
    throw new Failure(`the packages of the relay cannot be installed: ${explained(said)}`)
  }
  log(`packages for ${python.name} by ${uv ? "uv" : "pip"} in ${((Date.now() - begun) / 1000).toFixed(1)} s`)
  return { python: python.path, paths: [code, ...parts.map(({ packages }) => packages)] }
}

/** Write the lock in so many parts, without what is not needed; pip takes one processor, and a part each has several at work. */
function divide(folder, count) {
  const needed = readFileSync(LOCK, "utf8").split(/\n(?=\S)/).filter((entry) => !OF_COMMANDS.includes(entry.split("==")[0]))
  return Array.from({ length: count }, (_, part) => {
    const lock = join(folder, `requirements${part}.txt`)
    writeFileSync(lock, needed.filter((_, index) => index % count === part).join("\n"))
    return { packages: join(folder, `packages${part}`), lock }
  })
}

/**
 * Copy our own code meanwhile, and make its byte code, which takes a second. Python would leave that beside the action's files,
 * which others may have too; and given another place for byte code, it would make that of its own library anew.
 */
async function compile(python, code) {
  mkdirSync(code)
  for (const name of ["proxy", "config", "pyproject.toml"]) copy(join(ROOT, name), join(code, name))
  await execute(python.path, ["-I", "-S", "-m", "compileall", "-q", code], { limit: LIMIT })
}

/** Copy what a file or a folder has, but not who may change it: at the end all of it has to go. */
function copy(from, to) {
  if (!statSync(from).isDirectory()) return writeFileSync(to, readFileSync(from))
  mkdirSync(to)
  for (const name of readdirSync(from)) {
    if (name !== "__pycache__") copy(join(from, name), join(to, name))
  }
}

/** uv keeps unpacked packages in its cache, and checks them no more: other jobs of the machine could change them. */
function withUv(python) {
  const none = /^(1|true|yes|on)$/i.test(process.env.PIP_NO_INDEX ?? "") && !hasWheels() ? ["--no-index"] : []
  const args = ["pip", "install", "--quiet", "--no-cache", "--python", python.path, ...none]
  return { program: "uv", args, environment: translated(process.env) }
}

export async function withPip(python, folder) {
  let program = python.path
  if (!python.pip) {
    const made = await execute(python.path, ["-I", "-m", "venv", join(folder, "pip")], { limit: LIMIT })
    if (made.status !== 0) {
      throw new Failure(`${python.path} has no pip, and cannot make one: ${telling(made.said || made.out)}`)
    }
    program = join(folder, "pip", "bin", "python")
  }
  const args = ["-I", "-m", "pip", "install", "--quiet", "--no-compile", ...platforms(python.glibc)]
  const others = Object.keys(process.env).filter((name) => name.startsWith("PIP_") && !HONOURED.has(name))
  return { program, args, environment: { ...Object.fromEntries(others.map((name) => [name, undefined])), ...PIP } }
}

/**
 * Name the platforms of the wheels of the lock. Before version 24, pip compares each of thousands of files with each platform that
 * a machine could run, which is half of its work.
 */
export function platforms(glibc, arch = process.arch) {
  const machine = { x64: "x86_64", arm64: "aarch64" }[arch]
  const [major, minor] = glibc.split(".").map(Number)
  if (major !== 2 || minor < 28 || !machine) return [] // no glibc, an old one, or macOS: pip finds out
  return ["manylinux_2_28", "manylinux_2_17", "manylinux2014"].flatMap((each) => ["--platform", `${each}_${machine}`])
}

/** Give pip's own variables by the names that uv has for them. */
function translated(environment) {
  const pairs = {
    UV_DEFAULT_INDEX: environment.UV_DEFAULT_INDEX || environment.UV_INDEX_URL || environment.PIP_INDEX_URL,
    UV_INDEX: environment.UV_INDEX || environment.UV_EXTRA_INDEX_URL || environment.PIP_EXTRA_INDEX_URL,
    UV_FIND_LINKS: environment.UV_FIND_LINKS || environment.PIP_FIND_LINKS,
    SSL_CERT_FILE: environment.SSL_CERT_FILE || environment.PIP_CERT || environment.REQUESTS_CA_BUNDLE,
  }
  const own = { UV_PYTHON_DOWNLOADS: "never", UV_SYSTEM_CERTS: "true", UV_NATIVE_TLS: "true" } // with the CAs of the machine
  return { ...own, ...Object.fromEntries(Object.entries(pairs).filter(([, value]) => value)) }
}

/** Wheels beside the action are used in place of an index. */
function beside() {
  return hasWheels() ? ["--no-index", "--find-links", WHEELS] : []
}

function hasWheels() {
  try {
    return readdirSync(WHEELS).some((name) => name.endsWith(".whl"))
  } catch {
    return false
  }
}

/** Return in one or two sentences what went wrong, and what to do. */
export function explained(said, environment = process.env) {
  if (/no space left|ENOSPC|disk quota/i.test(said)) return "the disk of RUNNER_TEMP is full; the relay needs 60 MB there. Free some space"
  if (/DO NOT MATCH THE HASHES|hash mismatch/i.test(said)) {
    const name = /\b([a-z][a-z0-9-]*)==[0-9.]+/i.exec(said)?.[1] ?? "a package"
    return `${name} does not match its hash in the lock: the download is damaged, or somebody has altered it. Use another index (PIP_INDEX_URL)`
  }
  return `${telling(said)}. ${index(environment)}, or use a runner with Docker`
}

/** Return the line that tells what is wrong, without its full stop. */
function telling(said) {
  const lines = said.split("\n").map((line) => line.trim()).filter(Boolean)
  return (lines.findLast((line) => /^error/i.test(line)) ?? lines.at(-1) ?? "it says nothing").replace(/[.\s]+$/, "")
}

/** Return what to do about the index of packages; its address may have a password in it. */
function index(environment) {
  const given = environment.UV_DEFAULT_INDEX || environment.UV_INDEX_URL || environment.PIP_INDEX_URL
  if (!given) return "Set PIP_INDEX_URL to an index that this machine reaches"
  return `See whether this machine reaches the index ${URL.canParse(given) ? new URL(given).host : "that is set"} and whether the package is in it`
}
