// Shows the facts of this runner in the log and in the summary of the job; fails where one is not as it is relied on.

import { execFileSync } from "node:child_process"

import { Failure, annotate, input, log, run, summarize } from "../../../action/runner.mjs"
import { probe } from "./probe.mjs"
import { Service } from "./service.mjs"

const MARKS = new Map([[true, "as relied on"], [false, "**not as relied on**"], [null, "either will do"]])

await run(async () => {
  const attempt = Number(process.env.GITHUB_RUN_ATTEMPT || 1)
  const asked = { label: input("label"), size: Number(input("megabytes")) * 1024 * 1024, attempt }
  const rows = [...engine(), ...(await probe(new Service(), asked))]
  for (const { fact, seen, holds } of rows) log(`${fact}: ${seen} (${MARKS.get(holds)})`)
  const lines = rows.map(({ fact, seen, holds }) => `| ${fact} | ${seen} | ${MARKS.get(holds)} |`)
  summarize(["### Facts", "", "| asked | seen | |", "| --- | --- | --- |", ...lines].join("\n"))
  for (const { fact, seen } of rows.filter(({ holds }) => holds === false)) annotate("error", `${fact}: ${seen}`)
  if (rows.some(({ holds }) => holds === false)) throw new Failure("image-relay relies on what is not so here")
})

function engine() {
  const template = "{{.ServerVersion}}, {{.Driver}}, {{json .DriverStatus}}"
  let seen = "none"
  try {
    const options = { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"], timeout: 20_000 }
    const [version, driver, ...status] = execFileSync("docker", ["info", "--format", template], options).split(", ")
    seen = `${version}, ${status.join().includes("io.containerd.snapshotter") ? "containerd image store" : driver.trim()}`
  } catch {
    // a runner without an engine
  }
  return [{ fact: "Docker engine", seen, holds: null }]
}
