// CRC-64/NVME, bit by bit: the checksum of `x-ms-content-crc64`. For the few bytes of a probe.

const POLYNOMIAL = 0x9a6c9329ac4bc9b5n
const ONES = 0xffffffffffffffffn

/** Return the checksum as Azure writes it: little-endian, base64. */
export function crc64(bytes) {
  let crc = ONES
  for (const byte of bytes) {
    crc ^= BigInt(byte)
    for (let bit = 0; bit < 8; bit++) crc = crc & 1n ? (crc >> 1n) ^ POLYNOMIAL : crc >> 1n
  }
  const packed = Buffer.alloc(8)
  packed.writeBigUInt64LE(crc ^ ONES)
  return packed.toString("base64")
}
