// Names that were mistyped: which known one is meant?

/** Return the known name that is nearest, if a letter in four at most is another, missing or too much. */
export function nearest(name, known) {
  const [best] = known.map((each) => ({ each, distance: distance(name, each) })).sort((one, other) => one.distance - other.distance)
  return best && best.distance <= Math.max(1, Math.floor(best.each.length / 4)) ? best.each : undefined
}

/** Count the letters to change, insert or delete (Levenshtein). */
function distance(one, other) {
  let row = Array.from({ length: other.length + 1 }, (_, number) => number)
  for (const [at, letter] of [...one].entries()) {
    const next = [at + 1]
    for (const [column, wanted] of [...other].entries()) {
      next.push(Math.min(row[column] + (letter === wanted ? 0 : 1), row[column + 1] + 1, next[column] + 1))
    }
    row = next
  }
  return row.at(-1)
}
