// Netlink framing (RFC 3549): messages and attributes. Pure functions; everything that is read
// from a buffer is bounds-checked, and bytes that do not parse end the decoding.

export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;

export const NLM_F_REQUEST = 0x001;
export const NLM_F_ACK = 0x004;
export const NLM_F_DUMP_INTR = 0x010;
export const NLM_F_REPLACE = 0x100;
export const NLM_F_CREATE = 0x400;
export const NLM_F_DUMP = 0x300;

const HEADER_BYTES = 16;
const ATTRIBUTE_HEADER_BYTES = 4;
/** NLA_F_NESTED and NLA_F_NET_BYTEORDER are not part of an attribute's type. */
const ATTRIBUTE_TYPE_MASK = 0x3fff;

export interface NetlinkMessage {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  readonly payload: Buffer;
}

/** What a buffer held; `malformed` says that its tail did not parse and was left out. */
export interface Decoded {
  readonly messages: NetlinkMessage[];
  readonly malformed: boolean;
}

/** Attribute values by type; of repeated ones the last. */
export type Attributes = ReadonlyMap<number, Buffer>;

const aligned = (bytes: number): number => (bytes + 3) & ~3;

/** One message with its header. `payload` parts are joined; attributes must come padded. */
export function encodeMessage(
  type: number,
  flags: number,
  sequence: number,
  ...payload: readonly Buffer[]
): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  const message = Buffer.concat([header, ...payload]);
  message.writeUInt32LE(message.length, 0);
  message.writeUInt16LE(type, 4);
  message.writeUInt16LE(flags, 6);
  message.writeUInt32LE(sequence, 8);
  return message;
}

/** One attribute, padded to four bytes. */
export function encodeAttribute(type: number, value: Buffer): Buffer {
  const length = ATTRIBUTE_HEADER_BYTES + value.length;
  const attribute = Buffer.alloc(aligned(length));
  attribute.writeUInt16LE(length, 0);
  attribute.writeUInt16LE(type, 2);
  value.copy(attribute, ATTRIBUTE_HEADER_BYTES);
  return attribute;
}

export function encodeUint32(type: number, value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value >>> 0);
  return encodeAttribute(type, bytes);
}

/** The messages in one received buffer. */
export function decodeMessages(buffer: Buffer): Decoded {
  const messages: NetlinkMessage[] = [];
  let at = 0;
  while (at < buffer.length) {
    if (buffer.length - at < HEADER_BYTES) return { messages, malformed: true };
    const length = buffer.readUInt32LE(at);
    if (length < HEADER_BYTES || length > buffer.length - at) return { messages, malformed: true };
    messages.push({
      type: buffer.readUInt16LE(at + 4),
      flags: buffer.readUInt16LE(at + 6),
      sequence: buffer.readUInt32LE(at + 8),
      payload: buffer.subarray(at + HEADER_BYTES, at + length),
    });
    at += aligned(length);
  }
  return { messages, malformed: false };
}

/** The attributes from `offset` on; a malformed one and what follows it are left out. */
export function decodeAttributes(buffer: Buffer, offset = 0): Attributes {
  const attributes = new Map<number, Buffer>();
  let at = offset;
  while (buffer.length - at >= ATTRIBUTE_HEADER_BYTES) {
    const length = buffer.readUInt16LE(at);
    if (length < ATTRIBUTE_HEADER_BYTES || length > buffer.length - at) break;
    const type = buffer.readUInt16LE(at + 2) & ATTRIBUTE_TYPE_MASK;
    attributes.set(type, buffer.subarray(at + ATTRIBUTE_HEADER_BYTES, at + length));
    at += aligned(length);
  }
  return attributes;
}

/** A 32-bit attribute, or undefined when it is absent or too short. */
export function uint32Of(attributes: Attributes, type: number): number | undefined {
  const value = attributes.get(type);
  return value !== undefined && value.length >= 4 ? value.readUInt32LE(0) : undefined;
}

/** A NUL-terminated string attribute. */
export function textOf(attributes: Attributes, type: number): string | undefined {
  const value = attributes.get(type);
  if (value === undefined) return undefined;
  const end = value.indexOf(0);
  return value.toString("latin1", 0, end < 0 ? value.length : end);
}

/** The errno (positive; 0 for an acknowledgement) of an NLMSG_ERROR or NLMSG_DONE message. */
export function errorOf(message: NetlinkMessage): number {
  return message.payload.length >= 4 ? 0 - message.payload.readInt32LE(0) : 0;
}
