// Captures that Wireshark opens (draft-ietf-opsawg-pcapng): one section, an interface per place
// where packets were seen, nanoseconds, and a comment where there is something to say.

const SECTION_HEADER = 0x0a0d0d0a;
const BYTE_ORDER_MAGIC = 0x1a2b3c4d;
const INTERFACE_DESCRIPTION = 1;
const ENHANCED_PACKET = 6;
const LINKTYPE_ETHERNET = 1;
const OPTION_END = 0;
const OPTION_COMMENT = 1;
const OPTION_NAME = 2;
const OPTION_TIME_RESOLUTION = 9;
const NANOSECONDS = 9;

export interface Captured {
  nanos: number;
  /** Index into the list of interfaces. */
  place: number;
  packet: Uint8Array;
  comment?: string;
}

/** The file's contents. */
export function pcapng(places: string[], packets: Captured[]): Uint8Array {
  return Buffer.concat([
    sectionHeader(),
    ...places.map(interfaceDescription),
    ...packets.map(enhancedPacket),
  ]);
}

function words(...values: number[]): Buffer {
  const buffer = Buffer.alloc(values.length * 4);
  for (const [index, value] of values.entries()) buffer.writeUInt32LE(value >>> 0, index * 4);
  return buffer;
}

function padded(bytes: Uint8Array): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)]);
}

function option(code: number, value: Uint8Array): Buffer {
  return Buffer.concat([words(code | (value.length << 16)), padded(value)]);
}

/** A block: type and length in front, the length behind as well. */
function block(type: number, ...parts: Uint8Array[]): Buffer {
  const body = Buffer.concat(parts);
  const length = body.length + 12;
  return Buffer.concat([words(type, length), body, words(length)]);
}

function sectionHeader(): Buffer {
  // Version 1.0; the section's length is not given.
  return block(SECTION_HEADER, words(BYTE_ORDER_MAGIC, 1, 0xffffffff, 0xffffffff));
}

function interfaceDescription(name: string): Buffer {
  return block(
    INTERFACE_DESCRIPTION,
    words(LINKTYPE_ETHERNET, 0),
    option(OPTION_NAME, Buffer.from(name)),
    option(OPTION_TIME_RESOLUTION, Uint8Array.of(NANOSECONDS)),
    words(OPTION_END),
  );
}

function enhancedPacket({ nanos, place, packet, comment }: Captured): Buffer {
  const high = Math.floor(nanos / 0x1_0000_0000);
  const head = words(place, high, nanos % 0x1_0000_0000, packet.length, packet.length);
  if (!comment) return block(ENHANCED_PACKET, head, padded(packet));
  const options = [option(OPTION_COMMENT, Buffer.from(comment)), words(OPTION_END)];
  return block(ENHANCED_PACKET, head, padded(packet), ...options);
}
