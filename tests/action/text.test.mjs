import assert from "node:assert/strict"
import { test } from "node:test"
import { annotate, inert } from "../../action/runner.mjs"

const HOSTILE = [
  "::error::forged",
  "a ::add-mask::x",
  "##[error]forged",
  ":::::",
  "one\n::error::two",
  "one\r\n##[group]two",
  "\u001b[31mred\u001b]8;;http://x\u0007",
  "\u202egnp.exe",
  "\u2028::error::",
  "%0A::error::",
  "####[x]",
]

/** Return what is printed while something is done. */
function printed(work) {
  const lines = []
  const log = console.log
  console.log = (line) => lines.push(line)
  try {
    work()
  } finally {
    console.log = log
  }
  return lines
}

test("text from outside has no line break, control character or command in it", () => {
  for (const text of HOSTILE) {
    const shown = inert(text)
    assert.doesNotMatch(shown, /[\p{C}\p{Zl}\p{Zp}]/u)
    assert.doesNotMatch(shown, /::|##\[/)
    assert.equal(inert(shown), shown)
  }
})

test("ordinary text is shown as it is", () => {
  for (const text of ["app:v1@sha256:0123 über Größe 日本 🐳", "https://ghcr.io/x", "a # b ## c [d]", "100 %"]) {
    assert.equal(inert(text), text)
  }
})

test("an annotation is one line, whatever is in it, and its percent signs stay what they are", () => {
  for (const text of HOSTILE) {
    const [line, ...more] = printed(() => annotate("error", "first", text))
    assert.deepEqual(more, [])
    assert.match(line, /^::error title=image-relay::first%0A[^\r\n]*$/)
    assert.equal(line.slice(2).split("::").length, 2)
    assert.doesNotMatch(line.replace("first%0A", ""), /%(?!25)/)
  }
})

test("an annotation has an end", () => {
  const [line] = printed(() => annotate("warning", "x".repeat(100_000)))
  assert.ok(line.length < 5000)
})
