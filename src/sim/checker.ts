// What must be true of a host's stack between any two events. A breach is a bug of the stack.

import {
  FRAME_META_BYTES,
  FrameMetaView,
  FrameState,
  PORT_BYTES,
  PORTS_OFFSET,
  PortView,
  QUEUE_BYTES,
  QUEUES_OFFSET,
  QueueView,
  SocketState,
  TcpState,
} from "../../build/gen/layout.ts";
import {
  checkConnection,
  type Connection,
  type Fail,
  type Held,
} from "../core/connection-checks.ts";
import type { Host } from "./host.ts";

/** With more sockets than this, all are looked at only in a deep check. */
const FEW_SOCKETS = 8;
const PROTOCOL_TCP = 6;
const NEVER = 0xffffffffffffffffn;

export type Checker = ReturnType<typeof createChecker>;

export function createChecker(host: Host, fail: Fail) {
  const { header, sockets } = host;
  const inspected = { view: host.view, header, deadline: () => host.calls.nextDeadline() };
  /** Right edge of the window that each connection (by the socket's sequence) last advertised. */
  const edges = new Map<bigint, number>();

  function* connections(): Generator<Connection> {
    for (let index = 1; index < header.socketHigh; index++) {
      const socket = sockets.socketAt(index);
      if (socket.state === SocketState.Free || socket.protocol !== PROTOCOL_TCP) continue;
      yield { index, socket, tcb: sockets.tcbAt(index) };
    }
  }

  /** RFC 9293 3.8.6.2.1: the right edge must not move to the left. */
  function checkEdge({ index, socket, tcb }: Connection): void {
    if (tcb.state <= TcpState.SynReceived || tcb.state === TcpState.TimeWait) return;
    const known = edges.get(socket.sequence);
    if (known !== undefined && ((tcb.rcvAdv - known) | 0) < 0) {
      fail(`socket ${index}: the window shrank by ${(known - tcb.rcvAdv) >>> 0}`);
    }
    edges.set(socket.sequence, tcb.rcvAdv);
  }

  /** Looks at every connection, and when `isDeep` at all that the host has. */
  function check(now: bigint, isDeep: boolean): void {
    if (!isDeep && header.socketHigh > FEW_SOCKETS) return;
    const held: Held = { received: 0, sending: 0 };
    const ports = new Map<number, number>();
    const deadline = host.calls.nextDeadline();
    let wheel = 0;
    let timeWaits = 0;
    for (const one of connections()) {
      const { tcb, index } = one;
      checkConnection(inspected, one, held, now, (message) => fail(`socket ${index}: ${message}`));
      checkEdge(one);
      if (tcb.wheelSlot !== 0) wheel += 1;
      if (tcb.state === TcpState.TimeWait) timeWaits += 1;
      if (tcb.port !== 0) ports.set(tcb.port, (ports.get(tcb.port) ?? 0) + 1);
    }
    if (wheel !== header.wheelCount) fail(`${wheel} in the wheel, ${header.wheelCount} counted`);
    if (wheel > 0 && deadline === NEVER) fail("timers run, but poll() is never due");
    if (timeWaits !== header.timeWaits) {
      fail(`${timeWaits} in TIME-WAIT, ${header.timeWaits} counted`);
    }
    if (!isDeep) return;
    checkFrames(host, held, fail);
    checkPorts(host, ports, fail);
  }

  /** Everything was closed and all timers have fired: nothing may be left. */
  function checkEmpty(now: bigint): void {
    check(now, true);
    for (const { index, tcb } of connections()) fail(`socket ${index} is left, state ${tcb.state}`);
    if (host.calls.nextDeadline() !== NEVER) fail("poll() is due, but nothing is left to do");
    if (header.pendingHead !== 0) fail("a connection is left in the list of pending output");
    const count = countStates(host);
    const left = (count[FrameState.Queued] ?? 0) + (count[FrameState.Sending] ?? 0);
    if (left !== 0) fail(`${left} frames are left in queues`);
  }

  return { check, checkEmpty, connections };
}

function countStates({ view, header }: Host): number[] {
  const count = [0, 0, 0, 0, 0, 0];
  for (let index = 0; index < header.freshFrames; index++) {
    const at = header.frameMetaOffset + index * FRAME_META_BYTES;
    const { state } = new FrameMetaView(view, at);
    count[state] = (count[state] ?? 0) + 1;
  }
  return count;
}

/** Every frame is in one state, and somebody knows where. */
function checkFrames(host: Host, held: Held, fail: Fail): void {
  const { view, header } = host;
  const count = countStates(host);
  const of = (state: number) => count[state] ?? 0;
  if (of(FrameState.Held) !== 0) fail(`${of(FrameState.Held)} frames are held by nobody`);
  if (of(FrameState.Free) !== header.freeFrames) {
    fail(`${of(FrameState.Free)} frames are free, ${header.freeFrames} are listed`);
  }
  let posted = 0;
  let inFlight = 0;
  for (let slot = 0; slot < header.queueHigh; slot++) {
    const queue = new QueueView(view, QUEUES_OFFSET + slot * QUEUE_BYTES);
    posted += queue.posted;
    inFlight += queue.inFlight;
  }
  const sums: [string, number, number][] = [
    ["posted to receive", posted, of(FrameState.Fill)],
    ["with the kernel to send", inFlight, of(FrameState.Transmit)],
    ["in receive queues", held.received, of(FrameState.Queued)],
    ["in send queues", held.sending, of(FrameState.Sending)],
  ];
  for (const [what, known, states] of sums) {
    if (known !== states) fail(`${known} frames are ${what}, ${states} have that state`);
  }
}

/** The ports' counts are those of the connections. */
function checkPorts({ view, header }: Host, used: Map<number, number>, fail: Fail): void {
  for (let at = 1; at <= header.portHigh; at++) {
    const port = new PortView(view, PORTS_OFFSET + (at - 1) * PORT_BYTES);
    const known = used.get(at) ?? 0;
    if (port.count !== known) fail(`port slot ${at} counts ${port.count}, not ${known}`);
  }
}
