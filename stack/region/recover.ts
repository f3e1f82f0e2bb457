// After a program was killed while it held the lock: everything that can be derived is derived
// anew from per-object state. No socket is lost; the one that was being changed keeps what its
// state says. See docs/decisions/0003-orphaned-lock.md.

import { COMPLETION_RING_ENTRIES, MAX_QUEUES, RX_RING_ENTRIES } from "../config";
import { TX_RING_ENTRIES } from "../config";
import { rebuildEpoll } from "../epoll/recover";
import { fence } from "../host";
import { steerAddresses } from "../link/address";
import { rebuildDestinations } from "../link/destination";
import { markTransmitted, Queue, QueueState, Ring, withdrawUnpublished } from "../link/queue";
import { ADDRESS_ENTRY_BYTES, DESCRIPTOR_BYTES } from "../link/xsk-ring";
import { steeringSweep, steeringUnmark } from "../link/steering";
import { cookieClear, cookieInsert, isSteered, steer } from "../socket/table";
import { Socket, SocketState } from "../socket/socket";
import { demuxClear, demuxInsert } from "../udp/demux";
import { rebuildWaiters } from "../wait/waiter";
import { closeOrphans, forgetTcp, isWithoutProgram, rebuildTcp, sweepMarks } from "../tcp/recover";
import { PROTOCOL_TCP } from "../wire/tcp";
import { FrameMark, FrameMeta, FrameState, giveFrame, KEPT } from "./frames";
import { Intent, RegionHeader } from "./header";

/** Repairs the region. Precondition: the caller owns the lock, its former owner is dead. */
export function recoverRegion(): void {
  const header = RegionHeader.get();
  fence();
  header.recoveries += 1;
  finishIntent();
  skipHandledEntries();
  forgetMarks();
  rebuildSockets();
  forgetTcp();
  rebuildFrames();
  steeringSweep();
  rebuildDestinations();
  rebuildEpoll();
  rebuildWaiters();
  header.reservedFrame = 0;
  // Segments that were on their way are lost, and sent again.
  header.localHead = 0;
  header.localTail = 0;
  closeOrphans();
}

/** Ring entries: what was published is the kernel's, what was not is ours again. */
function finishIntent(): void {
  const header = RegionHeader.get();
  const slot = header.intentQueue;
  const intent = header.intent;
  header.intent = Intent.None;
  if (intent == Intent.None || slot >= MAX_QUEUES) return;
  if (Queue.at(slot).state != QueueState.Running) return;
  const from = header.intentIndex;
  if (intent == Intent.Fill) {
    withdrawUnpublished(slot, from, header.intentEnd);
    return;
  }
  const ring = Queue.ring(slot, Ring.Tx);
  if (ring.producerIndex != from + 1) return;
  const entry =
    <usize>ring.descriptors + <usize>((from & (TX_RING_ENTRIES - 1)) * DESCRIPTOR_BYTES);
  const frame = <u32>(load<u64>(entry) >> header.frameShift);
  if (frame < header.frameCount && FrameMeta.at(frame).state == <u8>FrameState.Held) {
    markTransmitted(Queue.at(slot), FrameMeta.at(frame));
  }
}

/**
 * RX and completion entries that the dead had handled, without having moved the consumer index:
 * their frames are no longer in the state that the ring implies. They are the oldest entries.
 */
function skipHandledEntries(): void {
  const header = RegionHeader.get();
  for (let slot: u32 = 0; slot < header.queueHigh; slot++) {
    if (Queue.at(slot).state != QueueState.Running) continue;
    const rx = Queue.ring(slot, Ring.Rx);
    let from = rx.consumerIndex;
    for (let left = rx.available; left > 0; left--) {
      const at = <usize>((from & (RX_RING_ENTRIES - 1)) * DESCRIPTOR_BYTES);
      if (isIn(load<u64>(<usize>rx.descriptors + at), FrameState.Fill)) break;
      from += 1;
    }
    rx.publishConsumer(from);
    const done = Queue.ring(slot, Ring.Completion);
    from = done.consumerIndex;
    for (let left = done.available; left > 0; left--) {
      const at = <usize>((from & (COMPLETION_RING_ENTRIES - 1)) * ADDRESS_ENTRY_BYTES);
      if (isIn(load<u64>(<usize>done.descriptors + at), FrameState.Transmit)) break;
      from += 1;
    }
    done.publishConsumer(from);
  }
}

/** Those of a recovery that was cut short by another death. */
function forgetMarks(): void {
  const header = RegionHeader.get();
  for (let index: u32 = 0; index < header.freshFrames; index++) {
    const meta = FrameMeta.at(index);
    meta.marks &= ~FrameMark.Found;
    if (meta.state == <u8>FrameState.Queued) meta.interfaceSlot &= ~KEPT;
  }
}

/** True if the frame at this UMEM address is in this state. */
function isIn(address: u64, state: FrameState): bool {
  const header = RegionHeader.get();
  const frame = <u32>(address >> header.frameShift);
  return frame < header.frameCount && FrameMeta.at(frame).state == <u8>state;
}

/** Tables and chains anew from the sockets; a half-made socket is dropped. */
function rebuildSockets(): void {
  const header = RegionHeader.get();
  demuxClear();
  cookieClear();
  steeringUnmark();
  steerAddresses();
  header.freeSocketHead = 0;
  for (let index: u32 = 1; index < header.socketHigh; index++) {
    const socket = Socket.at(index);
    // A connection may go on without a program, or not have one yet.
    const isHalfMade = socket.cookie == 0 && !isStacksOwn(index, socket);
    if (socket.state == <u8>SocketState.Free || isHalfMade) {
      socket.state = <u8>SocketState.Free;
      socket.cookie = 0;
      socket.demuxNext = header.freeSocketHead;
      header.freeSocketHead = index;
      continue;
    }
    if (socket.cookie != 0) cookieInsert(index);
    socket.sendBytes = 0;
    socket.spareFrame = 0;
    socket.localLimit = 0;
    if (!isSteered(socket)) continue;
    if (!steer(socket)) socket.state = <u8>SocketState.Kernel;
    else demuxInsert(index);
  }
}

function isStacksOwn(index: u32, socket: Socket): bool {
  if (<u32>socket.protocol != PROTOCOL_TCP) return false;
  return socket.state == <u8>SocketState.Connected && isWithoutProgram(index);
}

/** Free list, queue counts and receive queues anew from the frame records. */
function rebuildFrames(): void {
  const header = RegionHeader.get();
  for (let slot: u32 = 0; slot < header.queueHigh; slot++) {
    const queue = Queue.at(slot);
    queue.posted = 0;
    queue.inFlight = 0;
  }
  keepReachableQueues();
  rebuildTcp();
  dropUnreachable();
  sweepMarks();
  freeUnused();
}

/** Every frame that is neither with the kernel nor in a queue: on the free list, once. */
function freeUnused(): void {
  const header = RegionHeader.get();
  header.freeFrames = 0;
  for (let index: u32 = 0; index < header.freshFrames; index++) {
    const meta = FrameMeta.at(index);
    const state = meta.state;
    if (state == <u8>FrameState.Fill) {
      Queue.at(<u32>meta.interfaceSlot).posted += 1;
    } else if (state == <u8>FrameState.Transmit) {
      Queue.at(<u32>meta.interfaceSlot).inFlight += 1;
      recharge(meta);
    } else if (!isInUse(state)) {
      // Held by the dead, or free: on the free list once.
      if (state == <u8>FrameState.Held) header.recoveredFrames += 1;
      meta.state = <u8>FrameState.Held;
      giveFrame(index);
    }
  }
}

/** Of a queue; or a program copies: if that is the dead one, it is removed soon (client.ts). */
function isInUse(state: u8): bool {
  if (state == <u8>FrameState.Queued || state == <u8>FrameState.Sending) return true;
  return state == <u8>FrameState.Lent;
}

function recharge(meta: FrameMeta): void {
  const index = meta.socket;
  if (index == 0 || index >= RegionHeader.get().socketHigh) return;
  const socket = Socket.at(index);
  if (socket.state != <u8>SocketState.Free && socket.sequence == meta.sourceLo) {
    socket.sendBytes += meta.chargedBytes;
  }
}

/**
 * Walks every receive queue. Frames on it stay; a frame that was being appended or removed when
 * the owner died is in state Queued but on no queue, and is freed.
 */
function keepReachableQueues(): void {
  const header = RegionHeader.get();
  for (let index: u32 = 1; index < header.socketHigh; index++) {
    const socket = Socket.at(index);
    if (socket.state != <u8>SocketState.Free) walkQueue(socket, index);
  }
}

/** Of the frames that are in queues, those that none was found to hold are nobody's. */
function dropUnreachable(): void {
  const header = RegionHeader.get();
  for (let index: u32 = 0; index < header.freshFrames; index++) {
    const meta = FrameMeta.at(index);
    if (meta.state != <u8>FrameState.Queued) continue;
    if (meta.interfaceSlot & KEPT) meta.interfaceSlot &= ~KEPT;
    else if ((meta.marks & FrameMark.Found) == 0) meta.state = <u8>FrameState.Held;
  }
}

function walkQueue(socket: Socket, index: u32): void {
  const frames = RegionHeader.get().frameCount;
  let at = socket.receiveHead;
  let last: u32 = 0;
  let count: u32 = 0;
  let bytes: u32 = 0;
  while (at != 0 && at <= frames) {
    const meta = FrameMeta.at(at - 1);
    const kept = (meta.interfaceSlot & KEPT) != 0;
    if (meta.state != <u8>FrameState.Queued || meta.socket != index || kept) break;
    meta.interfaceSlot |= KEPT;
    count += 1;
    bytes += meta.chargedBytes;
    last = at;
    at = meta.next;
  }
  if (last == 0) socket.receiveHead = 0;
  else FrameMeta.at(last - 1).next = 0;
  socket.receiveTail = last;
  socket.receiveCount = count;
  socket.receiveBytes = bytes;
}
