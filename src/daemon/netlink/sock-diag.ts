// NETLINK_SOCK_DIAG: which UDP and TCP sockets the kernel has, and which it destroyed.
// Layouts: linux/inet_diag.h.

import { encodeMessage, NLM_F_DUMP, NLM_F_REQUEST, type NetlinkMessage } from "./message.ts";
import { AF_INET } from "./route.ts";

export const SOCK_DIAG_BY_FAMILY = 20;
/** Bits of SKNLGRP_INET_TCP_DESTROY (group 1) and _UDP_DESTROY (2) in a netlink address. */
export const DESTROY_GROUPS = (1 << 0) | (1 << 1);

export const IPPROTO_TCP = 6;
export const IPPROTO_UDP = 17;
const REQUEST_BYTES = 56;
const MESSAGE_BYTES = 72;
const COOKIE_OFFSET = 44;
const ALL_STATES = 0xffffffff;
/** TCP_LISTEN. */
const LISTEN_STATE = 1 << 10;

export interface DiagSocket {
  readonly family: number;
  readonly cookie: bigint;
  /** IPv4, when the family says so. */
  readonly localAddress: Buffer;
  /** Host order. */
  readonly localPort: number;
  readonly uid: number;
}

/** Asks for all bound UDP sockets of the namespace, or all TCP sockets that listen (IPv4). */
export function encodeSocketDump(sequence: number, protocol: number): Buffer {
  const request = Buffer.alloc(REQUEST_BYTES);
  request.writeUInt8(AF_INET, 0);
  request.writeUInt8(protocol, 1);
  request.writeUInt32LE(protocol === IPPROTO_TCP ? LISTEN_STATE : ALL_STATES, 4);
  return encodeMessage(SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, sequence, request);
}

/** One socket of a dump or of a destroy notification. */
export function decodeDiagSocket(message: NetlinkMessage): DiagSocket | undefined {
  const { type, payload } = message;
  if (type !== SOCK_DIAG_BY_FAMILY || payload.length < MESSAGE_BYTES) return undefined;
  return {
    family: payload.readUInt8(0),
    cookie: payload.readBigUInt64LE(COOKIE_OFFSET),
    localAddress: Buffer.from(payload.subarray(8, 12)),
    localPort: payload.readUInt16BE(4),
    uid: payload.readUInt32LE(64),
  };
}
