// rtnetlink: links, addresses, routes and neighbours, as far as exasockd needs them (IPv4).
// Layouts: linux/rtnetlink.h, if_link.h, if_addr.h, neighbour.h.

import {
  type Attributes,
  decodeAttributes,
  encodeAttribute,
  encodeMessage,
  encodeUint32,
  NLM_F_ACK,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_REPLACE,
  NLM_F_REQUEST,
  type NetlinkMessage,
  textOf,
  uint32Of,
} from "./message.ts";

export const RTM_NEWLINK = 16;
export const RTM_DELLINK = 17;
export const RTM_GETLINK = 18;
export const RTM_NEWADDR = 20;
export const RTM_DELADDR = 21;
export const RTM_GETADDR = 22;
export const RTM_NEWROUTE = 24;
export const RTM_DELROUTE = 25;
export const RTM_GETROUTE = 26;
export const RTM_NEWNEIGH = 28;
export const RTM_DELNEIGH = 29;
export const RTM_GETNEIGH = 30;
export const RTM_NEWRULE = 32;
export const RTM_DELRULE = 33;

export const AF_INET = 2;
export const IFF_UP = 0x1;
export const IFF_LOOPBACK = 0x8;
export const IFF_RUNNING = 0x40;
export const ARPHRD_ETHER = 1;

/** Bits of RTMGRP_*: what the event socket listens to. */
export const ROUTE_EVENT_GROUPS = 0x1 | 0x4 | 0x10 | 0x40 | 0x80;

const IFLA_ADDRESS = 1;
const IFLA_IFNAME = 3;
const IFLA_MTU = 4;
const IFLA_MASTER = 10;
const IFLA_LINKINFO = 18;
const IFLA_NUM_TX_QUEUES = 31;
const IFLA_NUM_RX_QUEUES = 32;
const IFLA_INFO_KIND = 1;

const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const IFA_BROADCAST = 4;

const RTA_DST = 1;
const RTA_SRC = 2;
const RTA_OIF = 4;
const RTA_GATEWAY = 5;
const RTA_PREFSRC = 7;
const RTA_METRICS = 8;
const RTA_VIA = 18;
const RTAX_MTU = 2;

const NDA_DST = 1;
const NDA_LLADDR = 2;

export const RTN_UNICAST = 1;

export const NUD_INCOMPLETE = 0x01;
export const NUD_REACHABLE = 0x02;
export const NUD_STALE = 0x04;
export const NUD_DELAY = 0x08;
export const NUD_PROBE = 0x10;
export const NUD_FAILED = 0x20;
export const NUD_NOARP = 0x40;
export const NUD_PERMANENT = 0x80;
/** States in which the hardware address may be used. */
export const NUD_VALID = NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE | NUD_PERMANENT;
const NTF_USE = 0x01;

const IFINFO_BYTES = 16;
const IFADDR_BYTES = 8;
const RTMSG_BYTES = 12;
const NDMSG_BYTES = 12;

export interface Link {
  readonly ifindex: number;
  readonly name: string;
  /** ARPHRD_* of the device. */
  readonly hardwareType: number;
  readonly flags: number;
  readonly mtu: number;
  readonly mac: Buffer;
  /** Index of the bridge, bond or VRF that it belongs to, 0 for none. */
  readonly master: number;
  /** "veth", "bridge", "vlan", …; empty for hardware. */
  readonly kind: string;
  /** Queues that the device was made with; fewer may be in use. */
  readonly rxQueues: number;
  readonly txQueues: number;
}

export interface InterfaceAddress {
  readonly ifindex: number;
  readonly prefixLength: number;
  readonly local: Buffer;
  readonly broadcast: Buffer | undefined;
}

export interface Route {
  /** RTN_*: unicast, local, broadcast, … */
  readonly type: number;
  readonly ifindex: number;
  readonly gateway: Buffer | undefined;
  readonly source: Buffer | undefined;
  /** True when the next hop is of another family. */
  readonly viaOtherFamily: boolean;
  /** Path MTU in bytes, 0 when the device's holds. */
  readonly mtu: number;
}

export interface Neighbor {
  readonly ifindex: number;
  readonly state: number;
  readonly address: Buffer;
  readonly mac: Buffer | undefined;
}

function addressOf(attributes: Attributes, type: number): Buffer | undefined {
  const value = attributes.get(type);
  return value !== undefined && value.length === 4 ? value : undefined;
}

export function decodeLink(message: NetlinkMessage): Link | undefined {
  const { payload } = message;
  if (payload.length < IFINFO_BYTES) return undefined;
  const attributes = decodeAttributes(payload, IFINFO_BYTES);
  const info = attributes.get(IFLA_LINKINFO);
  return {
    ifindex: payload.readInt32LE(4),
    name: textOf(attributes, IFLA_IFNAME) ?? "",
    hardwareType: payload.readUInt16LE(2),
    flags: payload.readUInt32LE(8),
    mtu: uint32Of(attributes, IFLA_MTU) ?? 0,
    mac: attributes.get(IFLA_ADDRESS) ?? Buffer.alloc(0),
    master: uint32Of(attributes, IFLA_MASTER) ?? 0,
    kind: info === undefined ? "" : (textOf(decodeAttributes(info), IFLA_INFO_KIND) ?? ""),
    rxQueues: uint32Of(attributes, IFLA_NUM_RX_QUEUES) ?? 1,
    txQueues: uint32Of(attributes, IFLA_NUM_TX_QUEUES) ?? 1,
  };
}

export function decodeAddress(message: NetlinkMessage): InterfaceAddress | undefined {
  const { payload } = message;
  if (payload.length < IFADDR_BYTES || payload[0] !== AF_INET) return undefined;
  const attributes = decodeAttributes(payload, IFADDR_BYTES);
  // IFA_ADDRESS is the peer's on point-to-point links, IFA_LOCAL always ours.
  const local = addressOf(attributes, IFA_LOCAL) ?? addressOf(attributes, IFA_ADDRESS);
  if (local === undefined) return undefined;
  return {
    ifindex: payload.readUInt32LE(4),
    prefixLength: payload.readUInt8(1),
    local,
    broadcast: addressOf(attributes, IFA_BROADCAST),
  };
}

export function decodeRoute(message: NetlinkMessage): Route | undefined {
  const { payload } = message;
  if (payload.length < RTMSG_BYTES || payload[0] !== AF_INET) return undefined;
  const attributes = decodeAttributes(payload, RTMSG_BYTES);
  const metrics = attributes.get(RTA_METRICS);
  return {
    type: payload.readUInt8(7),
    ifindex: uint32Of(attributes, RTA_OIF) ?? 0,
    gateway: addressOf(attributes, RTA_GATEWAY),
    source: addressOf(attributes, RTA_PREFSRC),
    viaOtherFamily: attributes.has(RTA_VIA),
    mtu: metrics === undefined ? 0 : (uint32Of(decodeAttributes(metrics), RTAX_MTU) ?? 0),
  };
}

export function decodeNeighbor(message: NetlinkMessage): Neighbor | undefined {
  const { payload } = message;
  if (payload.length < NDMSG_BYTES || payload[0] !== AF_INET) return undefined;
  const attributes = decodeAttributes(payload, NDMSG_BYTES);
  const address = addressOf(attributes, NDA_DST);
  if (address === undefined) return undefined;
  const mac = attributes.get(NDA_LLADDR);
  return {
    ifindex: payload.readInt32LE(4),
    state: payload.readUInt16LE(8),
    address,
    mac: mac !== undefined && mac.length === 6 ? mac : undefined,
  };
}

/** Asks for all objects of one kind: RTM_GETLINK, RTM_GETADDR or RTM_GETNEIGH. */
export function encodeDump(type: number, sequence: number): Buffer {
  const family = Buffer.alloc(type === RTM_GETADDR ? IFADDR_BYTES : IFINFO_BYTES);
  family.writeUInt8(type === RTM_GETLINK ? 0 : AF_INET, 0);
  const size = type === RTM_GETNEIGH ? NDMSG_BYTES : family.length;
  return encodeMessage(type, NLM_F_REQUEST | NLM_F_DUMP, sequence, family.subarray(0, size));
}

/** Asks which way the kernel would send to `destination`. */
export function encodeRouteGet(
  sequence: number,
  query: { destination: Buffer; source?: Buffer; ifindex?: number; tos?: number },
): Buffer {
  const head = Buffer.alloc(RTMSG_BYTES);
  head.writeUInt8(AF_INET, 0);
  head.writeUInt8(32, 1);
  head.writeUInt8(query.source === undefined ? 0 : 32, 2);
  head.writeUInt8(query.tos ?? 0, 3);
  const parts = [head, encodeAttribute(RTA_DST, query.destination)];
  if (query.source !== undefined) parts.push(encodeAttribute(RTA_SRC, query.source));
  if (query.ifindex) parts.push(encodeUint32(RTA_OIF, query.ifindex));
  return encodeMessage(RTM_GETROUTE, NLM_F_REQUEST, sequence, ...parts);
}

function neighborHead(ifindex: number, flags: number): Buffer {
  const head = Buffer.alloc(NDMSG_BYTES);
  head.writeUInt8(AF_INET, 0);
  head.writeInt32LE(ifindex, 4);
  head.writeUInt8(flags, 10);
  return head;
}

/** Asks for one neighbour entry. */
export function encodeNeighborGet(sequence: number, ifindex: number, address: Buffer): Buffer {
  const attribute = encodeAttribute(NDA_DST, address);
  return encodeMessage(RTM_GETNEIGH, NLM_F_REQUEST, sequence, neighborHead(ifindex, 0), attribute);
}

/**
 * Tells the kernel that a neighbour is about to be used: an absent entry is resolved by ARP, a
 * stale one is confirmed, just as if the kernel itself had sent a packet.
 */
export function encodeNeighborUse(sequence: number, ifindex: number, address: Buffer): Buffer {
  return encodeMessage(
    RTM_NEWNEIGH,
    NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE,
    sequence,
    neighborHead(ifindex, NTF_USE),
    encodeAttribute(NDA_DST, address),
  );
}
