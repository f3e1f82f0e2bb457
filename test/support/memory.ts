// The C structures that socket calls read and write, as bytes (64-bit Linux, little-endian).

import { nameOf, numberOf } from "./constants.ts";
import type { Address } from "./transcript.ts";

export const SOCKADDR_BYTES = 16;
export const MSGHDR_BYTES = 56;
export const MMSGHDR_BYTES = 64;
export const IOVEC_BYTES = 16;
export const POLLFD_BYTES = 8;
export const EPOLL_EVENT_BYTES = 12;
export const FD_SET_BYTES = 128;
const CMSG_HEADER_BYTES = 16;
const AF_INET = 2;

/** struct sockaddr_in. */
export function sockaddrBytes({ address, port }: Address): Buffer {
  const bytes = Buffer.alloc(SOCKADDR_BYTES);
  bytes.writeUInt16LE(AF_INET, 0);
  bytes.writeUInt16BE(port, 2);
  bytes.set(ipv4Bytes(address), 4);
  return bytes;
}

export function ipv4Bytes(address: string): Buffer {
  return Buffer.from(address.split(".").map(Number));
}

export function readAddress(bytes: Buffer): Address {
  if (bytes.readUInt16LE(0) !== AF_INET) {
    return { address: `family ${bytes.readUInt16LE(0)}`, port: 0 };
  }
  return { address: bytes.subarray(4, 8).join("."), port: bytes.readUInt16BE(2) };
}

export function int64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64LE(value, 0);
  return bytes;
}

export function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value | 0);
  return bytes;
}

/** Any number of 64-bit words: pointers, lengths, struct timeval, struct timespec. */
export function words(...values: number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 8);
  values.forEach((value, index) => {
    bytes.writeBigInt64LE(BigInt(value), index * 8);
  });
  return bytes;
}

export function timeval(millis: number): Buffer {
  return words(Math.floor(millis / 1000), (millis % 1000) * 1000);
}

export function timespec(millis: number): Buffer {
  return words(Math.floor(millis / 1000), (millis % 1000) * 1_000_000);
}

/** A control message for sendmsg. */
export interface Control {
  level: string;
  type: string;
  data: Uint8Array;
}

export function controlBytes(controls: readonly Control[]): Buffer {
  const parts = controls.map(({ level, type, data }) => {
    const bytes = Buffer.alloc(Math.ceil((CMSG_HEADER_BYTES + data.length) / 8) * 8);
    bytes.writeBigUInt64LE(BigInt(CMSG_HEADER_BYTES + data.length), 0);
    bytes.writeInt32LE(numberOf(level), 8);
    bytes.writeInt32LE(numberOf(type), 12);
    bytes.set(data, CMSG_HEADER_BYTES);
    return bytes;
  });
  return Buffer.concat(parts);
}

/** struct in_pktinfo. */
export function pktinfo(interfaceIndex: number, source: string): Buffer {
  const zero = Buffer.alloc(4);
  return Buffer.concat([int32(interfaceIndex), ipv4Bytes(source), zero]);
}

/** A received control message in words, with its descriptors if it carried any. */
export interface ShownControl {
  text: string;
  descriptors: number[];
}

export function readControls(bytes: Buffer): ShownControl[] {
  const shown: ShownControl[] = [];
  for (let at = 0; at + CMSG_HEADER_BYTES <= bytes.length; ) {
    const length = Number(bytes.readBigUInt64LE(at));
    if (length < CMSG_HEADER_BYTES) break;
    const level = bytes.readInt32LE(at + 8);
    const type = bytes.readInt32LE(at + 12);
    shown.push(showControl(level, type, bytes.subarray(at + CMSG_HEADER_BYTES, at + length)));
    at += Math.ceil(length / 8) * 8;
  }
  return shown;
}

function showControl(level: number, type: number, data: Buffer): ShownControl {
  const socketLevel = level === numberOf("SOL_SOCKET");
  const name = nameOf(type, socketLevel ? "SO_" : "IP_");
  if (socketLevel && type === numberOf("SCM_RIGHTS")) {
    const descriptors = Array.from({ length: data.length / 4 }, (_, i) => data.readInt32LE(i * 4));
    return { text: `SCM_RIGHTS [${descriptors}]`, descriptors };
  }
  if (data.length < 4) return { text: `${name} 0x${data.toString("hex")}`, descriptors: [] };
  if (!socketLevel && name === "IP_PKTINFO" && data.length === 12) {
    const [local, destination] = [data.subarray(4, 8), data.subarray(8, 12)];
    const text = `IP_PKTINFO ${data.readInt32LE(0)} ${local.join(".")} ${destination.join(".")}`;
    return { text, descriptors: [] };
  }
  if (socketLevel && name.startsWith("SO_TIMESTAMP")) return { text: name, descriptors: [] };
  if (!socketLevel && name === "IP_RECVERR") {
    // struct sock_extended_err: errno, origin, type, code; then the offender's address.
    const [origin, icmpType, code] = [data[4], data[5], data[6]];
    const text = `IP_RECVERR ${data.readUInt32LE(0)} ${origin} ${icmpType} ${code}`;
    return { text, descriptors: [] };
  }
  const value = data.length === 4 ? data.readInt32LE(0) : `0x${data.toString("hex")}`;
  return { text: `${name} ${value}`, descriptors: [] };
}
