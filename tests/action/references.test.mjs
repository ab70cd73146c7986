import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { test } from "node:test"
import { parse } from "../../action/references.mjs"

const CASES = JSON.parse(readFileSync(new URL("../references.json", import.meta.url), "utf8"))

test("a reference is read as docker reads it, and as the relay does", () => {
  for (const { text, refused, ...found } of CASES) {
    assert.deepEqual(parse(text), refused ? undefined : found, JSON.stringify(text))
  }
})
