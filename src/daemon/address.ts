// IPv4 addresses as the kernel's messages have them (4 network-order bytes) and as the stack has
// them (128 bits in two little-endian u64, IPv4 mapped).

/** The stack's form of an address. */
export interface StackAddress {
  readonly hi: bigint;
  readonly lo: bigint;
}

export const ANY_ADDRESS: StackAddress = { hi: 0n, lo: 0n };
const V4_MAPPED = 0xffff0000n;

/** The v4-mapped form of 4 network-order bytes; 0.0.0.0 is the wildcard. */
export function stackAddressOf(bytes: Buffer): StackAddress {
  const net = bytes.readUInt32LE(0);
  if (net === 0) return ANY_ADDRESS;
  return { hi: 0n, lo: (BigInt(net) << 32n) | V4_MAPPED };
}

/** The 4 bytes of a v4-mapped address or of the wildcard; undefined for an IPv6 one. */
export function ipv4BytesOf(address: StackAddress): Buffer | undefined {
  const bytes = Buffer.alloc(4);
  if (address.hi === 0n && address.lo === 0n) return bytes;
  if (address.hi !== 0n || (address.lo & 0xffffffffn) !== V4_MAPPED) return undefined;
  bytes.writeUInt32LE(Number(address.lo >> 32n));
  return bytes;
}

/** Dotted notation, for people. */
export function formatIpv4(bytes: Buffer): string {
  return [...bytes.subarray(0, 4)].join(".");
}

/** What people read: dotted IPv4, `*` for the wildcard, hexadecimal groups for the rest. */
export function formatStackAddress(address: StackAddress): string {
  if (address.hi === 0n && address.lo === 0n) return "*";
  const bytes = ipv4BytesOf(address);
  if (bytes !== undefined) return formatIpv4(bytes);
  const all = Buffer.alloc(16);
  all.writeBigUInt64LE(address.hi, 0);
  all.writeBigUInt64LE(address.lo, 8);
  return (all.toString("hex").match(/.{4}/g) ?? []).join(":");
}

/** Loopback, multicast, limited broadcast and "this network": never a neighbour's address. */
export function isUnicastIpv4(bytes: Buffer): boolean {
  const first = bytes[0] ?? 0;
  return first !== 0 && first !== 127 && first < 224;
}

/** A hardware address as the stack takes it: first four bytes little-endian, then two. */
export function macWordsOf(bytes: Buffer): { low: number; high: number } {
  return { low: bytes.readUInt32LE(0), high: bytes.readUInt16LE(4) };
}

/** A port in network order, as the stack has it. */
export function portNetOf(port: number): number {
  return ((port & 0xff) << 8) | (port >> 8);
}
