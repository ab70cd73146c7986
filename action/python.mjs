// A Python for the process: the first of this machine that the lock has wheels for.

import { accessSync, constants, readdirSync } from "node:fs"
import { delimiter, join } from "node:path"
import { execute } from "./command.mjs"
import { Failure } from "./runner.mjs"

const MINORS = [14, 13, 12, 11] // of Python 3, as tools/lock-requirements checks
const NAMES = ["python3", "python", ...MINORS.map((minor) => `python3.${minor}`)]
const USUAL = ["/usr/bin", "/usr/local/bin", "/opt/homebrew/bin"]
const LIMIT = 20_000 // milliseconds for one of them to say what it is
const ASKED = `
import platform, sys, sysconfig
from importlib.util import find_spec
print(sys.implementation.name, *sys.version_info[:2], int(bool(sysconfig.get_config_var("Py_GIL_DISABLED"))))
print(*(int(find_spec(name) is not None) for name in ("pip", "ensurepip")))
print(platform.libc_ver()[1] if platform.libc_ver()[0] == "glibc" else "")
`

/** Find one. Without `uv` it has to have pip, or at least to be able to make one. */
export async function findPython(withUv, environment = process.env, usual = USUAL) {
  const seen = []
  let spare
  for (const path of candidates(environment, usual)) {
    const found = await ask(path)
    if (!found) continue
    seen.push(`${path} (${found.name})`)
    if (found.fits && (withUv || found.pip)) return found
    if (found.fits && found.ensurepip) spare ??= found
  }
  if (spare) return spare
  throw new Failure(
    `the relay as a process needs CPython 3.${MINORS.at(-1)} to 3.${MINORS[0]} with pip (or uv); ` +
      `${seen.length ? `there is ${seen.join(", ")}` : "there is no Python"}. Put actions/setup-python before this step`,
  )
}

/** Return every program of such a name: those on PATH, those that the image of the runner keeps, and the system's. */
function candidates(environment, usual) {
  const folders = [...(environment.PATH ?? "").split(delimiter), ...toolCache(environment), ...usual].filter(Boolean)
  const paths = folders.flatMap((folder) => NAMES.map((name) => join(folder, name)))
  return [...new Set(paths)].filter(isProgram)
}

function toolCache(environment) {
  const root = environment.RUNNER_TOOL_CACHE || environment.AGENT_TOOLSDIRECTORY
  if (!root) return []
  const versions = list(join(root, "Python")).sort((one, other) => other.localeCompare(one, "en", { numeric: true }))
  const folders = versions.map((version) => join(root, "Python", version))
  return folders.flatMap((folder) => list(folder).map((arch) => join(folder, arch, "bin")))
}

function list(folder) {
  try {
    return readdirSync(folder)
  } catch {
    return []
  }
}

function isProgram(path) {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/** Let one say what it is; nothing if it does not run. */
async function ask(path) {
  const { status, out } = await execute(path, ["-I", "-c", ASKED], { limit: LIMIT })
  if (status !== 0) return undefined
  const [name, major, minor, free, pip, ensurepip, glibc = ""] = out.split(/\s+/)
  const fits = name === "cpython" && major === "3" && MINORS.includes(Number(minor)) && free === "0"
  const shown = `${name} ${major}.${minor}${free === "1" ? "t" : ""}`
  return { path, name: shown, fits, pip: pip === "1", ensurepip: ensurepip === "1", glibc }
}
