// A stack in V8 with one or more interfaces whose AF_XDP rings are served by this file in place of
// the kernel: it takes frames from the fill ring, hands packets over on the RX ring, and takes sent
// ones off the TX ring. Nothing of the stack is replaced.

import { readFileSync } from "node:fs";
import {
  FRAME_META_BYTES,
  FrameMetaView,
  HEADER_OFFSET,
  InterfaceFlag,
  QUEUE_BYTES,
  QUEUES_OFFSET,
  QueueView,
  RegionHeaderView,
  SOCKET_BYTES,
  SOCKETS_OFFSET,
  SocketView,
} from "../../build/gen/layout.ts";
import { createStack, type HostOverrides } from "../../src/core/instance.ts";
import { ANY, address, macParts, portNet } from "../../src/sim/address.ts";
import { createRings } from "../../src/sim/rings.ts";

export { address, portNet };

const WASM = new URL("../../build/stack.wasm", import.meta.url);
const compiled = new WebAssembly.Module(readFileSync(WASM));

export const BUILD_HASH = 0x1122334455667788n;

export interface MachineOptions {
  frameCount?: number;
  frameBytes?: number;
  fillTarget?: number;
  /** Queues of the first interface. */
  queues?: number;
  virtual?: boolean;
  host?: HostOverrides;
  module?: WebAssembly.Module;
}

export type Machine = ReturnType<typeof createMachine>;

export const LOCAL_MAC = Uint8Array.of(2, 0, 0, 0, 0, 1);
export const PEER_MAC = Uint8Array.of(2, 0, 0, 0, 0, 2);
export const LOCAL = "10.0.0.1";
export const PEER = "10.0.0.2";

export function createMachine(options: MachineOptions = {}) {
  const { frameCount = 1024, frameBytes = 2048, fillTarget = 64, queues = 1 } = options;
  const stack = createStack(options.module ?? compiled, options.host ?? {});
  const { calls, memory, view } = stack;
  const bytes = new Uint8Array(memory);
  const status = calls.regionFormat(BigInt(memory.byteLength), frameBytes, frameCount, BUILD_HASH);
  if (status !== 0) throw new Error(`regionFormat: ${status}`);
  const header = new RegionHeaderView(view, HEADER_OFFSET);
  let now = 1_000_000n;

  const { ringAt, takePosted, pushDescriptor, deliver, ...rings } = createRings(stack);
  const addQueue = (slot: number, queueId: number, target = fillTarget) =>
    rings.addQueue(slot, queueId, target);

  function addInterface(ifindex: number, mac: Uint8Array, queueCount: number, mtu = 1500): number {
    const flags = InterfaceFlag.Up | (options.virtual === false ? 0 : InterfaceFlag.Virtual);
    const slot = calls.interfaceAdd(ifindex, mtu, ...macParts(mac), flags);
    for (let queueId = 0; queueId < queueCount; queueId++) addQueue(slot, queueId);
    return slot;
  }

  /** The kernel sends what is on the TX ring; the packets, and their frames are completed. */
  function transmitted(queue = 0, complete = true): Uint8Array[] {
    if (!complete) return rings.transmitting(queue).map((one) => one.packet);
    const sent = rings.takeTransmitting(queue);
    for (const { umemAddress } of sent) rings.complete(queue, umemAddress);
    return sent.map((one) => one.packet);
  }

  const frameMeta = (index: number) =>
    new FrameMetaView(view, header.frameMetaOffset + index * FRAME_META_BYTES);
  const socket = (index: number) => new SocketView(view, SOCKETS_OFFSET + index * SOCKET_BYTES);
  const queueView = (slot: number) => new QueueView(view, QUEUES_OFFSET + slot * QUEUE_BYTES);

  /** Frames by state; the invariant is that they add up, and that the counters agree. */
  function census(): { free: number; fill: number; transmit: number; queued: number } {
    const count = [0, 0, 0, 0, 0, 0, 0];
    for (let index = 0; index < header.freshFrames; index++) {
      const { state } = frameMeta(index);
      count[state] = (count[state] ?? 0) + 1;
    }
    const [free = 0, held = 0, fill = 0, transmit = 0, queued = 0, , spare = 0] = count;
    const fresh = header.frameCount - header.freshFrames;
    if (held !== 0) throw new Error(`${held} frames are held by nobody`);
    if (free !== header.freeFrames) throw new Error(`${free} free, ${header.freeFrames} listed`);
    if (free + fill + transmit + queued + spare + fresh !== header.frameCount)
      throw new Error("frames lost");
    let posted = 0;
    let inFlight = 0;
    for (let slot = 0; slot < header.queueHigh; slot++) {
      posted += queueView(slot).posted;
      inFlight += queueView(slot).inFlight;
    }
    if (posted !== fill) throw new Error(`${posted} posted, ${fill} in state fill`);
    if (inFlight !== transmit)
      throw new Error(`${inFlight} in flight, ${transmit} in state transmit`);
    let waiting = 0;
    for (let index = 1; index < header.socketHigh; index++) waiting += socket(index).receiveCount;
    if (waiting !== queued) throw new Error(`${waiting} in queues, ${queued} in state queued`);
    return { free: free + fresh, fill, transmit, queued };
  }

  /** Runs poll() until nothing is left. */
  function poll(budget = 64): number {
    let handled = 0;
    while (calls.hasWork() !== 0) {
      now += 1000n;
      handled += calls.poll(now, budget);
    }
    return handled;
  }

  let cookies = 0n;
  function createSocket(): number {
    cookies += 1n;
    const index = calls.socketCreate(cookies, 17, 1);
    if (index < 0) throw new Error(`socketCreate: ${index}`);
    return index;
  }

  /** A socket bound to `host` ("0.0.0.0" is the wildcard) and `port`. */
  function bound(host: string, port: number, ifindex = 0): number {
    const index = createSocket();
    const at = host === "0.0.0.0" ? ANY : address(host);
    const result = calls.socketBind(index, at.hi, at.lo, portNet(port), ifindex);
    if (result !== 0) throw new Error(`socketBind: ${result}`);
    return index;
  }

  /** Connects a bound socket; the destination becomes usable through interface 0. */
  function connect(index: number, port: number, peer = PEER, peerPort = 4000): void {
    const local = address(LOCAL);
    const remote = address(peer);
    calls.socketConnect(
      index,
      local.hi,
      local.lo,
      portNet(port),
      remote.hi,
      remote.lo,
      portNet(peerPort),
    );
  }

  /** Answers every destination request as exasockd would: through interface 0, known neighbour. */
  function resolveAll(peer = PEER, mac = PEER_MAC, mtu = 1500): number {
    const local = address(LOCAL);
    const hop = address(peer);
    let count = 0;
    for (let at = calls.destinationNextRequest(); at >= 0; at = calls.destinationNextRequest()) {
      calls.destinationResolve(at, 0, local.hi, local.lo, hop.hi, hop.lo, mtu);
      count += 1;
    }
    calls.neighborSet(0, hop.hi, hop.lo, ...macParts(mac), 1);
    return count;
  }

  function writePayload(at: number, payload: Uint8Array): void {
    bytes.set(payload, at);
  }

  /** sendto() without the system call: udpReserve's result, submitted when there is room. */
  function send(index: number, payload: Uint8Array, to?: { host: string; port: number }): number {
    const remote = to ? address(to.host) : ANY;
    const port = to ? portNet(to.port) : 0;
    const at = calls.udpReserve(index, remote.hi, remote.lo, port, 0n, 0n, payload.length);
    if (at <= 0) return at;
    writePayload(at, payload);
    calls.udpSubmit();
    return payload.length;
  }

  /** recvfrom() without the system call: the oldest datagram, consumed; undefined if none. */
  function receive(index: number) {
    const at = calls.udpPeek(index);
    if (at === 0) return undefined;
    const meta = new FrameMetaView(view, at);
    const start = meta.payloadOffset;
    const datagram = {
      payload: bytes.slice(start, start + meta.payloadBytes),
      sourceLo: meta.sourceLo,
      destinationLo: meta.destinationLo,
      sourcePortNet: meta.sourcePortNet,
      ttl: meta.ttl,
      tos: meta.tos,
      arrivalNanos: meta.arrivalNanos,
    };
    calls.udpConsume(index);
    return datagram;
  }

  const slot = addInterface(7, LOCAL_MAC, queues);
  const local = address(LOCAL);
  calls.addressAdd(local.hi, local.lo);
  return {
    calls,
    view,
    bytes,
    header,
    slot,
    addInterface,
    addQueue,
    deliver,
    transmitted,
    census,
    poll,
    createSocket,
    bound,
    connect,
    resolveAll,
    send,
    receive,
    socket,
    frameMeta,
    queueView,
    takePosted,
    pushDescriptor,
    ringAt,
    frameBytes,
  };
}
