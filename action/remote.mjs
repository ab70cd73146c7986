// A Docker engine on another machine, such as Docker-in-Docker with a name of its own: what it publishes is there.

import { lookup } from "node:dns/promises"
import { BlockList } from "node:net"

const PRIVATE = new BlockList()
for (const [network, bits, family] of [
  ["127.0.0.0", 8, "ipv4"], ["10.0.0.0", 8, "ipv4"], ["172.16.0.0", 12, "ipv4"], ["192.168.0.0", 16, "ipv4"],
  ["100.64.0.0", 10, "ipv4"], ["::1", 128, "ipv6"], ["fc00::", 7, "ipv6"], ["fe80::", 10, "ipv6"],
]) PRIVATE.addSubnet(network, bits, family)

/**
 * Return the host by which this machine reaches ports of an engine, such as `docker` for tcp://docker:2376. Nothing if it is not
 * in a private network: the session would travel there in plain text.
 */
export async function privateHost(engine) {
  if (!/^tcp:\/\//.test(engine) || !URL.canParse(engine)) return ""
  const host = new URL(engine.replace(/^tcp/, "http")).hostname
  const found = await lookup(host.replace(/^\[|\]$/g, ""), { all: true }).catch(() => [])
  const isPrivate = found.length > 0 && found.every(({ address, family }) => PRIVATE.check(address, `ipv${family}`))
  if (!isPrivate) return ""
  const [{ address, family }] = found
  return host.includes(".") ? (family === 6 ? `[${address}]` : address) : host // the relay answers to no foreign name with a dot
}
