// The region's hash tables, chains and timers: every object that should be found through one hangs
// in the chain where it is looked for, once, and nothing else does.

import {
  CONNECTION_BUCKETS,
  CONNECTIONS_OFFSET,
  COOKIE_BUCKETS,
  COOKIES_OFFSET,
  DEMUX_BUCKETS,
  DEMUX_OFFSET,
  SocketState,
  TcpState,
  WHEEL_OFFSET,
  WHEEL_SLOTS,
} from "../../build/gen/layout.ts";
import type { Fail, Inspected } from "./connection-checks.ts";
import { socketAt, tcbAt } from "./records.ts";
import { type Member, members } from "./region-checks.ts";

/** As stack/base/hash.ts. */
export function foldAddress(hi: bigint, lo: bigint): number {
  const both = hi ^ lo;
  return Number((both ^ (both >> 32n)) & 0xffffffffn);
}

function mix(a: number, b: number): number {
  let h = Math.imul(a, 0x9e3779b1) ^ Math.imul(b, 0x85ebca6b);
  h ^= h >>> 15;
  return Math.imul(h, 0x9e3779b1) >>> 0;
}

interface Table {
  readonly offset: number;
  readonly buckets: number;
  next(index: number): number;
  /** Bucket of a socket that should be in the table; undefined for others. */
  bucketOf(member: Member): number | undefined;
}

function checkTable(region: Inspected, table: Table, fail: Fail): void {
  const expected = new Map<number, number>();
  for (const member of members(region)) {
    const bucket = table.bucketOf(member);
    if (bucket !== undefined) expected.set(member.index, bucket);
  }
  const heads = new Uint32Array(region.view.buffer, table.offset, table.buckets);
  heads.forEach((head, bucket) => {
    for (let at = head; at !== 0; at = table.next(at)) {
      const known = expected.get(at);
      if (known === undefined) fail(`socket ${at} is listed twice, or should not be`);
      if (known !== bucket) fail(`socket ${at} is in chain ${bucket}, not ${known}`);
      expected.delete(at);
    }
  });
  for (const index of expected.keys()) fail(`socket ${index} is not found`);
}

export function checkCookies(region: Inspected, fail: Fail): void {
  const table = {
    offset: COOKIES_OFFSET,
    buckets: COOKIE_BUCKETS,
    next: (index: number) => socketAt(region.view, index).cookieNext,
    bucketOf: ({ socket: { cookie } }: Member) => {
      if (cookie === 0n) return undefined;
      return mix(Number(cookie & 0xffffffffn), Number(cookie >> 32n)) >>> 16;
    },
  };
  checkTable(region, table, fail);
}

/** As isSteered() of stack/socket/table.ts. */
export function isSteered({ socket, isTcp }: Member): boolean {
  if (socket.state === SocketState.Bound) return true;
  return socket.state === SocketState.Connected && !isTcp;
}

export function checkDemux(region: Inspected, fail: Fail): void {
  const table = {
    offset: DEMUX_OFFSET,
    buckets: DEMUX_BUCKETS,
    next: (index: number) => socketAt(region.view, index).demuxNext,
    bucketOf: (member: Member) => {
      const { localHi, localLo, localPortNet, protocol } = member.socket;
      if (!isSteered(member)) return undefined;
      return mix(foldAddress(localHi, localLo), (localPortNet << 8) | protocol) >>> 16;
    },
  };
  checkTable(region, table, fail);
}

/** Whether packets of a connection find it. */
export function isConnected({ tcb, isTcp }: Member): boolean {
  return isTcp && tcb.state !== TcpState.Closed && tcb.state !== TcpState.Listen;
}

export function checkConnections(region: Inspected, fail: Fail): void {
  const table = {
    offset: CONNECTIONS_OFFSET,
    buckets: CONNECTION_BUCKETS,
    next: (index: number) => tcbAt(region.view, index).chainNext,
    bucketOf: (member: Member) => {
      const { localLo, remoteLo, localPortNet, remotePortNet } = member.socket;
      if (!isConnected(member)) return undefined;
      const [local, remote] = [localLo >> 32n, remoteLo >> 32n].map(Number) as [number, number];
      const addresses = local ^ Math.imul(remote, 0x85ebca6b);
      return mix(addresses, localPortNet | (remotePortNet << 16)) >>> 16;
    },
  };
  checkTable(region, table, fail);
}

export function checkWheel(region: Inspected, fail: Fail): void {
  const { view, header } = region;
  const expected = new Map<number, number>();
  for (const { index, tcb, isTcp } of members(region)) {
    if (isTcp && tcb.wheelSlot !== 0) expected.set(index, tcb.wheelSlot - 1);
  }
  const count = expected.size;
  if (count !== header.wheelCount) fail(`${count} run, ${header.wheelCount} are counted`);
  if (count > 0 && header.nextTimerNanos === 0xffffffffffffffffn) fail("poll() is never due");
  for (let slot = 0; slot < 2 * WHEEL_SLOTS; slot++) {
    let previous = 0;
    for (let at = view.getUint32(WHEEL_OFFSET + slot * 4, true); at !== 0; ) {
      const tcb = tcbAt(region.view, at);
      if (expected.get(at) !== slot) fail(`socket ${at} is in slot ${slot} of the wheel`);
      if (tcb.wheelPrev !== previous) fail(`socket ${at} does not know who is before it`);
      expected.delete(at);
      previous = at;
      at = tcb.wheelNext;
    }
  }
  for (const index of expected.keys()) fail(`socket ${index} is in no slot of the wheel`);
}
