// Which listener belongs to this job? The token goes to that one and to no other.
//
// Whoever runs on this machine may listen on a port. So a port says nothing, and an answer that looks like a relay's
// says nothing either. What counts is whose container it is: the runner names the service containers of the job, and the
// engine says which image a container runs, which of its ports are published, and where it is in the job's network.

import { createHash } from "node:crypto"
import { elsewhere, inspect, isThere, labelled, logs } from "./engine.mjs"
import { Relay, reasons } from "./relay.mjs"
import { privateHost } from "./remote.mjs"
import { Failure } from "./runner.mjs"

const TITLE = "org.opencontainers.image.title" // a label of the image, which its containers have too
const PORT = "5000/tcp" // where the relay listens inside
const LOOKS = 20 // times that a service may have to be asked: runners wait until it is healthy, but not all do
const PAUSE = 250 // milliseconds between two of them
export const OURS = "image-relay.job" // a label of what the action starts

/** Find the relay that runs for this job already, as service container or started by an earlier step, if there is one. */
export async function find(inputs, environment = process.env) {
  const engine = (await isThere()) ? await elsewhere(environment) : undefined
  const host = engine ? await privateHost(engine) : "" // by which what it publishes is reached
  const isUsable = engine === "" || host
  const found = isUsable ? await inEngine(inputs.job, inputs, environment) : await withoutEngine(inputs.job)
  const chosen = choose(found, inputs.address)
  return chosen && reach(chosen, inputs, host)
}

/** Name this job, for the label of what the action starts in it; the same in each step, another in each other job. */
export function jobKey(matrix, environment = process.env) {
  const names = ["REPOSITORY", "RUN_ID", "RUN_ATTEMPT", "JOB", "WORKSPACE"].map((name) => environment[`GITHUB_${name}`])
  const parts = [...names, environment.RUNNER_NAME, matrix].map((part) => part ?? "")
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex").slice(0, 32)
}

async function inEngine(job, inputs, environment) {
  const services = Object.entries(job.services).filter(([, service]) => service.id)
  const [named, started, unnamed] = await Promise.all([
    Promise.all(services.map(async ([alias, { id }]) => (await inspect([id])).map((seen) => describe(seen, alias)))),
    labelled(`${OURS}=${jobKey(inputs.matrix, environment)}`).then(inspect),
    services.length ? [] : labelled(`${TITLE}=image-relay`).then(inspect),
  ])
  const relays = named.flat().filter((each) => each.isRelay)
  relays.push(...unnamed.filter((seen) => isInNetworkOf(seen, environment.GITHUB_JOB)).map((seen) => describe(seen, "")))
  relays.push(...started.map((seen) => describe(seen, "")))
  const running = unique(relays.filter((each) => each.running))
  const [ended] = relays
  if (ended && !running.length) {
    const why = reasons(await logs(ended.id)).join("; ") || "its log, at the end of the job, says why"
    throw new Failure(`the relay (container ${ended.alias}) has ended: ${why}`)
  }
  return running
}

/** act and Gitea's runner do not name their services. They put them in a network that is called after the job. */
function isInNetworkOf(seen, job) {
  return Boolean(job) && Object.keys(seen.NetworkSettings.Networks).some((name) => name.endsWith(`-${job}-network`))
}

/** Describe a container: is it a relay, where is it, by which port does this machine reach it? */
export function describe(seen, alias) {
  const [published] = seen.NetworkSettings.Ports?.[PORT] ?? []
  const addresses = Object.values(seen.NetworkSettings.Networks).map((network) => network.IPAddress)
  return {
    id: seen.Id,
    alias: alias || seen.Name.replace(/^\//, ""),
    isRelay: seen.Config.Labels?.[TITLE] === "image-relay",
    running: seen.State.Running,
    port: published?.HostPort ?? "",
    hostAddress: published?.HostIp ?? "",
    addresses: addresses.filter(Boolean),
    environment: seen.Config.Env ?? [],
    image: seen.Config.Image,
    started: Boolean(seen.Config.Labels?.[OURS]),
  }
}

/** In a job container without an engine, services are found by name in the network that only this job is in. */
async function withoutEngine(job) {
  if (!job.container.id) return []
  const services = Object.entries(job.services).map(([alias, service]) => ({
    id: "",
    alias,
    port: service?.ports?.["5000"] ?? "",
    hostAddress: "",
    addresses: [alias],
    environment: [],
    started: false,
  }))
  if (services.length < 2) return services
  const answers = await Promise.all(services.map(({ alias }) => new Relay(`http://${alias}:5000`).health()))
  const relays = services.filter((_, number) => answers[number]) // the others are databases and the like
  return relays.length ? relays : services.filter(({ port }) => port)
}

function unique(places) {
  return [...new Map(places.map((each) => [each.id, each])).values()]
}

/** Take the one that is meant. An address is only a choice among what belongs to this job. */
export function choose(places, address) {
  if (!address) {
    if (places.length < 2) return places[0]
    throw new Failure(`this job has several relays: ${shown(places)}. Set address to the one to use`)
  }
  const chosen = places.find((each) => isCalled(each, address))
  if (chosen) return chosen
  const there = places.length ? `it has: ${shown(places)}` : "it has none"
  throw new Failure(
    `address is ${address}, where no image-relay of this job listens (${there}); nothing was handed over. ` +
      advice(places),
  )
}

/** Is it meant by an address? No address means any. */
export function isCalled(place, address) {
  return !address || names(place).includes(hostAndPort(address))
}

function advice(places) {
  return places.length
    ? "Leave address out, or set it to one of those"
    : "Leave address out, and the action starts a relay; or add the service container that is meant to this job"
}

/** Read an address as it may be written: with or without scheme and path. */
function hostAndPort(address) {
  const written = /^https?:\/\//i.test(address) ? address : `http://${address}`
  if (!URL.canParse(written)) throw new Failure(`address is ${address}; write it as http://localhost:5000`)
  const { hostname, port } = new URL(written)
  return `${["127.0.0.1", "[::1]"].includes(hostname) ? "localhost" : hostname}:${port || "5000"}`
}

/** By which addresses people call it: on this machine, and in the job's network. */
function names(each) {
  return [...(each.port ? [`localhost:${each.port}`] : []), `${each.alias.toLowerCase()}:5000`]
}

function shown(places) {
  return places.map((each) => names(each)[0]).join(", ")
}

/** Find out how this step reaches it; without an answer the job has to be changed. */
async function reach(chosen, inputs, host) {
  const inContainer = Boolean(inputs.job.container.id)
  if (!chosen.port && !inContainer) throw new Failure(unpublished(chosen.alias))
  if (host && chosen.port && loopback(chosen.hostAddress, "") !== "" && !inContainer) {
    throw new Failure(
      `the service ${chosen.alias} is published for the machine of the Docker engine alone, which is another one (${host}); ` +
        'write its port as  ports: ["5000:5000"], and give it a RELAY_PASSWORD',
    )
  }
  for (let looked = 0; looked < LOOKS; looked++) {
    for (const url of urls(chosen, inContainer, host)) {
      if (await new Relay(url).health()) return { ...chosen, url, registry: registry(chosen) }
    }
    await new Promise((resolve) => setTimeout(resolve, PAUSE))
  }
  throw new Failure(
    `the service ${chosen.alias} does not answer as an image-relay; its log, at the end of the job, says why`,
  )
}

function urls(chosen, inContainer, host) {
  const direct = chosen.addresses.map((address) => `http://${address}:5000`)
  const published = chosen.port ? [`http://${host || loopback(chosen.hostAddress, "127.0.0.1")}:${chosen.port}`] : []
  if (host) return inContainer ? [...direct, ...published] : published
  if (!inContainer) return [...published, ...direct]
  return chosen.id ? direct : [...direct, ...published]
}

/** Return the address at which a port is published, or `any` if that is at all. */
function loopback(address, any) {
  return /^(0\.0\.0\.0|::|)$/.test(address) ? any : address
}

/** What clients call the registry. The engine is the machine's, so it needs the port that is published there. */
function registry(chosen) {
  return chosen.port ? `localhost:${chosen.port}` : `${chosen.alias}:5000`
}

function unpublished(alias) {
  return `the service ${alias} publishes no port, so docker cannot reach it; add to it  ports: ["127.0.0.1:5000:5000"]`
}
