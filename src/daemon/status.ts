// What `exasockctl status` shows, as one JSON object.

import {
  Ends,
  INTERFACES_OFFSET,
  InterfaceView,
  QueueState,
  QUEUES_OFFSET,
  QueueView,
  RegionHeaderView,
  SocketState,
  TCB_BYTES,
  TCBS_OFFSET,
  TcbView,
  TcpState,
} from "../../build/gen/layout.ts";
import { BUILD_HASH_TEXT } from "../../build/gen/build-hash.ts";
import type { AcceleratedInterface } from "./accelerated-interface.ts";
import { formatStackAddress } from "./address.ts";
import type { Client } from "./clients.ts";
import { IPPROTO_TCP } from "./netlink/sock-diag.ts";
import { IFF_RUNNING, IFF_UP } from "./netlink/route.ts";
import type { Region } from "./region.ts";
import { portOf, regionSockets } from "./sockets.ts";
import type { Xsk, XskStatistics } from "./xsk.ts";

/** More sockets than this are counted, not listed: the reply is one packet. */
export const SOCKETS_LISTED_MAX = 2000;

export interface QueueStatus {
  readonly queue: number;
  readonly slot: number;
  readonly state: string;
  readonly zeroCopy: boolean;
  /** Frames with the kernel: to receive into, and being sent. */
  readonly posted: number;
  readonly inFlight: number;
  readonly rxFrames: number;
  readonly txFrames: number;
  readonly kernel: XskStatistics;
}

export interface InterfaceStatus {
  readonly name: string;
  readonly ifindex: number;
  readonly mtu: number;
  readonly mac: string;
  readonly up: boolean;
  readonly kind: string;
  readonly mode: "native" | "generic";
  /** Why the mode is generic; empty when it is native. */
  readonly nativeProblem: string;
  readonly zeroCopy: boolean;
  readonly queues: QueueStatus[];
  readonly counters: Record<string, number>;
}

export interface ProgramStatus {
  readonly pid: number;
  readonly uid: number;
  readonly command: string;
  readonly slot: number;
}

export interface SocketStatus {
  /** 0 of a TCP connection that no program has: not accepted yet, or closed and not over. */
  readonly cookie: string;
  readonly protocol: number;
  /** Of TCP the connection's, by the names of RFC 9293 without hyphens. */
  readonly state: string;
  readonly local: string;
  readonly remote: string;
  /** Of the program that made it; 0 when that has ended. */
  readonly pid: number;
  readonly queuedDatagrams: number;
  readonly queuedBytes: number;
  readonly receiveBufferBytes: number;
  readonly sendBytes: number;
  /** Frames of a TCP connection that wait to be sent or acknowledged, or came out of order. */
  readonly keptFrames: number;
  readonly received: number;
  readonly drops: number;
  readonly sent: number;
  readonly sentViaKernel: number;
}

export interface Status {
  readonly ok: true;
  readonly pid: number;
  readonly stack: string;
  readonly build: string;
  readonly uptimeSeconds: number;
  readonly region: {
    readonly bytes: number;
    readonly frameBytes: number;
    readonly frames: number;
    readonly freeFrames: number;
  };
  /** True while exasockd itself moves the packets because no program waits. */
  readonly pumping: boolean;
  /** False while exasockd does not listen to the ends of kernel sockets: none would be news. */
  readonly endsHeard: boolean;
  readonly interfaces: InterfaceStatus[];
  /** Why others are not used. */
  readonly unusable: { readonly name: string; readonly reason: string }[];
  readonly programs: ProgramStatus[];
  readonly sockets: SocketStatus[];
  readonly socketCount: number;
  readonly counters: Record<string, number>;
}

export interface StatusSources {
  readonly stack: string;
  readonly startedMillis: number;
  readonly pumping: boolean;
  readonly interfaces: Iterable<AcceleratedInterface>;
  readonly failures: ReadonlyMap<string, string>;
  readonly clients: readonly Client[];
}

/** Accessors of a generated view, in the order of its fields. */
function fieldsOf(view: { prototype: object }): string[] {
  return Object.getOwnPropertyNames(view.prototype).filter((name) => name !== "constructor");
}

const HEADER_FIELDS = fieldsOf(RegionHeaderView);
/** The counters are the header's last part. */
const HEADER_COUNTERS = HEADER_FIELDS.slice(HEADER_FIELDS.indexOf("rxFrames"));
/** These lie where every such datagram is handled in any case. */
const LOCAL_COUNTERS = ["localDatagrams", "localSegments", "localStreamBytes"];
/** What an interface's queues count add up to its own counters. */
const QUEUE_COUNTERS = ["rxFrames", "rxBytes", "txFrames", "txBytes"];

function countersOf(view: object, names: readonly string[]): Record<string, number> {
  const fields = view as Record<string, unknown>;
  return Object.fromEntries(names.map((name) => [name, Number(fields[name])]));
}

function nameOf(names: Readonly<Record<string, number>>, value: number): string {
  const found = Object.entries(names).find(([, number]) => number === value);
  return found ? found[0].toLowerCase() : String(value);
}

function sumCounters(views: readonly object[]): Record<string, number> {
  const each = views.map((view) => countersOf(view, QUEUE_COUNTERS));
  const sum = (name: string) => each.reduce((total, one) => total + (one[name] ?? 0), 0);
  return Object.fromEntries(QUEUE_COUNTERS.map((name) => [name, sum(name)]));
}

function queueView(region: Region, xsk: Xsk): QueueView {
  return new QueueView(region.view, QUEUES_OFFSET + xsk.place.slot * QueueView.BYTES);
}

function interfaceStatus(region: Region, one: AcceleratedInterface): InterfaceStatus {
  const { link } = one;
  const at = INTERFACES_OFFSET + one.slot * InterfaceView.BYTES;
  const queues = one.queues.map((xsk): QueueStatus => {
    const { slot, queueId } = xsk.place;
    const view = queueView(region, xsk);
    return {
      queue: queueId,
      slot,
      state: nameOf(QueueState, view.state),
      zeroCopy: xsk.isZeroCopy,
      posted: view.posted,
      inFlight: view.inFlight,
      rxFrames: Number(view.rxFrames),
      txFrames: Number(view.txFrames),
      kernel: xsk.statistics(),
    };
  });
  return {
    name: link.name,
    ifindex: link.ifindex,
    mtu: link.mtu,
    mac: (link.mac.toString("hex").match(/../g) ?? []).join(":"),
    up: (link.flags & IFF_UP) !== 0 && (link.flags & IFF_RUNNING) !== 0,
    kind: link.kind,
    mode: one.mode,
    nativeProblem: one.nativeProblem,
    zeroCopy: queues.every((queue) => queue.zeroCopy),
    queues,
    counters: {
      ...sumCounters(one.queues.map((xsk) => queueView(region, xsk))),
      rxDrops: Number(new InterfaceView(region.view, at).rxDrops),
    },
  };
}

function socketStatuses(region: Region, clients: readonly Client[]): [SocketStatus[], number] {
  const pids = new Map(clients.map((client) => [client.slot, client.pid]));
  const listed: SocketStatus[] = [];
  let count = 0;
  for (const { index, view } of regionSockets(region)) {
    count++;
    if (listed.length >= SOCKETS_LISTED_MAX) continue;
    const isTcp = view.protocol === IPPROTO_TCP;
    const tcb = new TcbView(region.view, TCBS_OFFSET + index * TCB_BYTES);
    const local = formatStackAddress({ hi: view.localHi, lo: view.localLo });
    const remote = formatStackAddress({ hi: view.remoteHi, lo: view.remoteLo });
    listed.push({
      cookie: view.cookie.toString(),
      protocol: view.protocol,
      state: isTcp ? nameOf(TcpState, tcb.state) : nameOf(SocketState, view.state),
      local: `${local}:${portOf(view.localPortNet)}`,
      remote: view.remotePortNet === 0 ? "" : `${remote}:${portOf(view.remotePortNet)}`,
      pid: pids.get(view.client) ?? 0,
      queuedDatagrams: view.receiveCount,
      queuedBytes: view.receiveBytes,
      receiveBufferBytes: view.receiveBufferBytes,
      sendBytes: view.sendBytes,
      keptFrames: (isTcp ? tcb.sendFrames + tcb.oooFrames : 0) + (view.spareFrame === 0 ? 0 : 1),
      received: isTcp ? tcb.segmentsIn : Number(view.arrivals),
      drops: Number(view.drops),
      sent: isTcp ? tcb.segmentsOut : Number(view.sent),
      sentViaKernel: Number(view.sentViaKernel),
    });
  }
  return [listed, count];
}

/** A snapshot; taken without the lock, so that numbers may be a packet apart. */
export function readStatus(region: Region, sources: StatusSources): Status {
  const { header } = region;
  const [sockets, socketCount] = socketStatuses(region, sources.clients);
  return {
    ok: true,
    pid: process.pid,
    stack: sources.stack,
    build: BUILD_HASH_TEXT,
    uptimeSeconds: Math.round((performance.now() - sources.startedMillis) / 1000),
    region: {
      bytes: region.bytes,
      frameBytes: header.frameBytes,
      frames: header.frameCount,
      freeFrames: region.freeFrames,
    },
    pumping: sources.pumping,
    endsHeard: region.header.ends === Ends.Heard,
    interfaces: [...sources.interfaces].map((one) => interfaceStatus(region, one)),
    unusable: [...sources.failures].map(([name, reason]) => ({ name, reason })),
    programs: sources.clients.map(({ pid, uid, command, slot }) => ({ pid, uid, command, slot })),
    sockets,
    socketCount,
    counters: countersOf(header, [...HEADER_COUNTERS, ...LOCAL_COUNTERS]),
  };
}
