// Addresses, ports and hardware addresses as the stack's calls take them.

/** An address as the stack has it: v4-mapped, two halves. */
export interface AddressHalves {
  hi: bigint;
  lo: bigint;
}

/** The wildcard. */
export const ANY: AddressHalves = { hi: 0n, lo: 0n };

/** Halves of an IPv4 address in dotted text; `net` is the address as it lies in memory. */
export function address(text: string): AddressHalves & { net: number } {
  const [a = 0, b = 0, c = 0, d = 0] = text.split(".").map(Number);
  const net = (a | (b << 8) | (c << 16) | (d << 24)) >>> 0;
  return { hi: 0n, lo: (BigInt(net) << 32n) | 0xffff0000n, net };
}

/** Dotted text of an IPv4 address given as the lower half of a v4-mapped one. */
export function addressText(lo: bigint): string {
  const net = Number(lo >> 32n);
  return [net & 255, (net >>> 8) & 255, (net >>> 16) & 255, net >>> 24].join(".");
}

/** A port as it lies in memory: network order in a little-endian u16. Its own inverse. */
export function portNet(port: number): number {
  return ((port & 0xff) << 8) | (port >> 8);
}

/** A hardware address as the stack's calls take it: four bytes, little-endian, then two. */
export function macParts(mac: Uint8Array): [number, number] {
  const view = new DataView(mac.buffer, mac.byteOffset);
  return [view.getUint32(0, true), view.getUint16(4, true)];
}
