// What must be true of a region while nobody changes it: every list, count and table against the
// states of the objects that they are about. exasockd checks with the lock held (`exasockctl
// doctor`), tests do after every kind of damage. A breach is a bug of the stack.

import {
  DATAGRAM_OVERHEAD_BYTES,
  FRAME_META_BYTES,
  FrameMetaView,
  FrameState,
  HEADER_OFFSET,
  PORT_BYTES,
  PORTS_OFFSET,
  PortView,
  QUEUE_BYTES,
  QUEUES_OFFSET,
  QueueState,
  QueueView,
  RegionHeaderView,
  SocketState,
  type SocketView,
  type TcbView,
  TcpFlag,
  TcpState,
} from "../../build/gen/layout.ts";
import type { Connection, Fail, Held, Inspected } from "./connection-checks.ts";
import { chain, checkConnection } from "./connection-checks.ts";
import { checkEpoll } from "./epoll-checks.ts";
import { socketAt, tcbAt } from "./records.ts";
import { checkSteering } from "./steering-checks.ts";
import { checkConnections, checkCookies, checkDemux, checkWheel } from "./table-checks.ts";
import { checkClients } from "./waiter-checks.ts";

const PROTOCOL_TCP = 6;
const BREACHES_MAX = 20;

class Breach extends Error {}

/** A socket of the region, and its control block if it is TCP's. */
export interface Member {
  readonly index: number;
  readonly socket: SocketView;
  readonly tcb: TcbView;
  readonly isTcp: boolean;
}

export function* members({ view, header }: Inspected): Generator<Member> {
  for (let index = 1; index < header.socketHigh; index++) {
    const socket = socketAt(view, index);
    if (socket.state === SocketState.Free) continue;
    const tcb = tcbAt(view, index);
    yield { index, socket, tcb, isTcp: socket.protocol === PROTOCOL_TCP };
  }
}

/** What is wrong with it, in words; empty if nothing is. */
export function regionBreaches(view: DataView): string[] {
  const header = new RegionHeaderView(view, HEADER_OFFSET);
  const region: Inspected = { view, header, deadline: () => header.nextTimerNanos };
  const found: string[] = [];
  const fail: Fail = (message) => {
    throw new Breach(message);
  };
  const check = (what: string, action: () => void) => {
    try {
      action();
    } catch (error) {
      if (!(error instanceof Breach)) throw error;
      if (found.length < BREACHES_MAX) found.push(`${what}: ${error.message}`);
    }
  };
  const held: Held = { received: 0, sending: 0 };
  for (const member of members(region)) {
    const name = `socket ${member.index}`;
    if (member.isTcp) check(name, () => checkConnection(region, member, held, 0n, fail));
    else check(name, () => checkDatagrams(region, member, held, fail));
  }
  check("frames", () => checkFrames(region, held, fail));
  check("free frames", () => checkFreeList(region, fail));
  check("ports", () => checkPorts(region, fail));
  check("listeners", () => checkListeners(region, fail));
  check("pending output", () => checkPending(region, fail));
  check("cookies", () => checkCookies(region, fail));
  check("addresses", () => checkDemux(region, fail));
  check("connections", () => checkConnections(region, fail));
  check("timers", () => checkWheel(region, fail));
  check("steering", () => checkSteering(region, fail));
  check("epoll sets", () => checkEpoll(region, fail));
  check("programs", () => checkClients(region, fail));
  return found;
}

function checkDatagrams(region: Inspected, member: Connection, held: Held, fail: Fail): void {
  const { index, socket } = member;
  let count = 0;
  let bytes = 0;
  let last = 0;
  let link = socket.receiveHead;
  for (const { at, next } of chain(region, socket.receiveHead, fail)) {
    const meta = new FrameMetaView(region.view, at);
    if (meta.state !== FrameState.Queued) fail(`a queued frame has state ${meta.state}`);
    if (meta.socket !== index) fail(`a queued frame is socket ${meta.socket}'s`);
    count++;
    bytes += meta.payloadBytes + DATAGRAM_OVERHEAD_BYTES;
    last = link;
    link = next;
  }
  held.received += count;
  if (count !== socket.receiveCount) fail(`${count} are queued, ${socket.receiveCount} counted`);
  if (bytes !== socket.receiveBytes) fail(`${bytes} bytes are charged as ${socket.receiveBytes}`);
  if (last !== socket.receiveTail) fail("the queue's last frame is not its tail");
}

function frameAt({ view, header }: Inspected, index: number): FrameMetaView {
  return new FrameMetaView(view, header.frameMetaOffset + index * FRAME_META_BYTES);
}

/** Every frame is in one state, and somebody knows where. */
function checkFrames(region: Inspected, held: Held, fail: Fail): void {
  const { view, header } = region;
  const count: number[] = [];
  const byQueue = new Map<string, number>();
  for (let index = 0; index < header.freshFrames; index++) {
    const { state, interfaceSlot } = frameAt(region, index);
    count[state] = (count[state] ?? 0) + 1;
    const key = `${state}/${interfaceSlot}`;
    byQueue.set(key, (byQueue.get(key) ?? 0) + 1);
  }
  const of = (state: number) => count[state] ?? 0;
  if (of(FrameState.Held) !== 0) fail(`${of(FrameState.Held)} are held by nobody`);
  if (of(FrameState.Free) !== header.freeFrames) {
    fail(`${of(FrameState.Free)} are free, ${header.freeFrames} are listed`);
  }
  for (const [what, known, state] of [
    ["received", held.received, FrameState.Queued],
    ["to be sent", held.sending, FrameState.Sending],
    ["spare", spares(region, fail), FrameState.Spare],
  ] as const) {
    if (known !== of(state)) fail(`${known} are ${what} by sockets, ${of(state)} have that state`);
  }
  for (let slot = 0; slot < header.queueHigh; slot++) {
    const queue = new QueueView(view, QUEUES_OFFSET + slot * QUEUE_BYTES);
    const isUsed = queue.state !== QueueState.Free;
    for (const [what, known, state] of [
      ["posted", queue.posted, FrameState.Fill],
      ["in flight", queue.inFlight, FrameState.Transmit],
    ] as const) {
      const counted = byQueue.get(`${state}/${slot}`) ?? 0;
      if (counted !== (isUsed ? known : 0)) fail(`queue ${slot}: ${known} ${what}, not ${counted}`);
    }
  }
}

/** Frames that sockets keep for what they send next. */
function spares(region: Inspected, fail: Fail): number {
  let count = 0;
  for (const { index, socket } of members(region)) {
    if (socket.spareFrame === 0) continue;
    count++;
    const { state } = frameAt(region, socket.spareFrame - 1);
    if (state !== FrameState.Spare) fail(`socket ${index} keeps a frame in state ${state}`);
  }
  return count;
}

function checkFreeList(region: Inspected, fail: Fail): void {
  const { view, header } = region;
  const seen = new Set<number>();
  for (let n = 0; n < header.freeFrames; n++) {
    const index = view.getUint32(header.freeListOffset + n * 4, true);
    if (index >= header.freshFrames) fail(`frame ${index} was never handed out`);
    if (frameAt(region, index).state !== FrameState.Free) fail(`frame ${index} is in use`);
    if (seen.size === seen.add(index).size) fail(`frame ${index} is listed twice`);
  }
}

/** The ports' counts are those of the connections. */
function checkPorts(region: Inspected, fail: Fail): void {
  const used = new Map<number, { count: number; timeWaits: number }>();
  let timeWaits = 0;
  for (const { index, socket, tcb, isTcp } of members(region)) {
    if (!isTcp || tcb.port === 0) continue;
    const known = used.get(tcb.port) ?? { count: 0, timeWaits: 0 };
    known.count++;
    if (tcb.state === TcpState.TimeWait) known.timeWaits++;
    if (tcb.state === TcpState.TimeWait) timeWaits++;
    used.set(tcb.port, known);
    const port = new PortView(region.view, PORTS_OFFSET + (tcb.port - 1) * PORT_BYTES);
    if (port.lo !== socket.localLo || port.portNet !== socket.localPortNet) {
      fail(`socket ${index} is counted at another port`);
    }
  }
  for (let at = 1; at <= region.header.portHigh; at++) {
    const port = new PortView(region.view, PORTS_OFFSET + (at - 1) * PORT_BYTES);
    const known = used.get(at) ?? { count: 0, timeWaits: 0 };
    if (port.count !== known.count) fail(`slot ${at} counts ${port.count}, not ${known.count}`);
    if (known.count > 0 && port.timeWaits !== known.timeWaits) {
      fail(`slot ${at} counts ${port.timeWaits} in TIME-WAIT, not ${known.timeWaits}`);
    }
  }
  if (timeWaits !== region.header.timeWaits) {
    fail(`${timeWaits} in TIME-WAIT, ${region.header.timeWaits} counted`);
  }
}

function checkListeners(region: Inspected, fail: Fail): void {
  for (const { index, tcb, isTcp } of members(region)) {
    if (!isTcp || tcb.state !== TcpState.Listen) continue;
    let count = 0;
    let last = 0;
    for (let at = tcb.acceptHead; at !== 0; count++) {
      if (count > region.header.socketHigh) fail(`listener ${index}: its queue is a circle`);
      const waiting = tcbAt(region.view, at);
      if ((waiting.flags & TcpFlag.InAcceptQueue) === 0) fail(`socket ${at} is not to be accepted`);
      if (waiting.listener !== index) fail(`socket ${at} is another listener's`);
      last = at;
      at = waiting.acceptNext;
    }
    if (count !== tcb.acceptCount) fail(`listener ${index}: ${count} wait, not ${tcb.acceptCount}`);
    if (last !== tcb.acceptTail) fail(`listener ${index}: the last that waits is not its tail`);
  }
}

function checkPending(region: Inspected, fail: Fail): void {
  const marked = new Set<number>();
  let waits = 0;
  for (const { index, tcb, isTcp } of members(region)) {
    if (isTcp && (tcb.flags & TcpFlag.OutputPending) !== 0) marked.add(index);
    if (isTcp && (tcb.flags & TcpFlag.RouteWait) !== 0) waits++;
  }
  if (waits !== region.header.routeWaits) {
    fail(`${waits} wait for a route, ${region.header.routeWaits} counted`);
  }
  for (let at = region.header.pendingHead; at !== 0; ) {
    if (!marked.delete(at)) fail(`socket ${at} is listed, but not marked or twice`);
    at = tcbAt(region.view, at).outputNext;
  }
  for (const index of marked) fail(`socket ${index} is marked, but not listed`);
}
