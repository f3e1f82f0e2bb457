import {
  COMPLETION_RING_ENTRIES,
  FILL_RING_ENTRIES,
  MAX_QUEUES,
  REAP_BATCH_FRAMES,
  REFILL_BATCH_FRAMES,
  RX_RING_ENTRIES,
  TX_METADATA_BYTES,
  TX_RING_ENTRIES,
} from "../config";
import { QUEUE_BYTES, QUEUE_WINDOW_BYTES } from "../layout";
import { RING_WINDOW_BYTES, RINGS_OFFSET } from "../layout";
import {
  FrameMark,
  FrameMeta,
  FrameState,
  giveFrame,
  giveKnownFrame,
  NO_FRAME,
  takeFrame,
} from "../region/frames";
import { Intent, RegionHeader } from "../region/header";
import { releaseSendCharge } from "../socket/charge";
import { Interface } from "./interface";
import { Fault } from "../fault";
import { fault, loadAcquire32, storeRelease32 } from "../host";
import { ADDRESS_ENTRY_BYTES, DESCRIPTOR_BYTES, RING_PLACE_BYTES } from "./xsk-ring";
import { RingPlace, ringNeedsWakeup } from "./xsk-ring";

/** XDP_TX_METADATA, a descriptor's option; XDP_TXMD_FLAGS_CHECKSUM, a flag of the metadata. */
const TX_DESCRIPTOR_METADATA: u32 = 2;
const TX_METADATA_CHECKSUM: u64 = 2;

/** Number of a ring within a queue, in the order of the windows. */
export const enum Ring {
  Rx = 0,
  Tx = 1,
  Fill = 2,
  Completion = 3,
}

export const enum QueueState {
  Free = 0,
  /** Known, but its rings are not usable (yet, or any more). */
  Stopped = 1,
  Running = 2,
}

/** One AF_XDP socket: queue `queueId` of an interface. The four ring places come first. */
@final
@unmanaged
export class Queue {
  rxProducer: u32;
  rxConsumer: u32;
  rxDescriptors: u32;
  rxFlags: u32;
  txProducer: u32;
  txConsumer: u32;
  txDescriptors: u32;
  txFlags: u32;
  fillProducer: u32;
  fillConsumer: u32;
  fillDescriptors: u32;
  fillFlags: u32;
  completionProducer: u32;
  completionConsumer: u32;
  completionDescriptors: u32;
  completionFlags: u32;

  rxFrames: u64;
  txFrames: u64;
  rxBytes: u64;
  txBytes: u64;
  /** A QueueState. */
  state: u32;
  interfaceSlot: u32;
  /** Hardware queue number. */
  queueId: u32;
  /** Next queue of the interface, slot + 1. */
  nextQueue: u32;
  /** Frames given to the kernel to receive into and not yet back. */
  posted: u32;
  /** Frames given to the kernel to send and not yet back. */
  inFlight: u32;
  /** How many frames to keep posted. */
  fillTarget: u32;
  /** 1 when the kernel finishes transport checksums (AF_XDP's transmit metadata). */
  finishesChecksums: u32;

  static at(slot: u32): Queue {
    return changetype<Queue>(<usize>(RegionHeader.get().queuesOffset + slot * QUEUE_BYTES));
  }

  static ring(slot: u32, ring: u32): RingPlace {
    return changetype<RingPlace>(
      changetype<usize>(Queue.at(slot)) + <usize>(ring * RING_PLACE_BYTES),
    );
  }
}

/** Slot of a new queue of the interface, or -1 when MAX_QUEUES are in use. */
export function addQueue(interfaceSlot: u32, queueId: u32): i32 {
  const header = RegionHeader.get();
  for (let slot: u32 = 0; slot < MAX_QUEUES; slot++) {
    const queue = Queue.at(slot);
    if (queue.state != QueueState.Free) continue;
    memory.fill(changetype<usize>(queue), 0, <usize>QUEUE_BYTES);
    queue.state = QueueState.Stopped;
    queue.interfaceSlot = interfaceSlot;
    queue.queueId = queueId;
    const owner = Interface.at(interfaceSlot);
    queue.nextQueue = owner.firstQueue;
    owner.firstQueue = slot + 1;
    owner.queueCount += 1;
    if (header.queueHigh <= slot) header.queueHigh = slot + 1;
    return <i32>slot;
  }
  return -1;
}

/** Records where a ring's parts are, given the offsets that XDP_MMAP_OFFSETS reports. */
export function setRing(
  slot: u32,
  ring: u32,
  producer: u32,
  consumer: u32,
  descriptors: u32,
  flags: u32,
): void {
  if (slot >= MAX_QUEUES || ring > <u32>Ring.Completion) return;
  const window = RINGS_OFFSET + slot * QUEUE_WINDOW_BYTES + ring * RING_WINDOW_BYTES;
  const place = Queue.ring(slot, ring);
  place.producer = window + producer;
  place.consumer = window + consumer;
  place.descriptors = window + descriptors;
  place.flags = window + flags;
}

/** The queue's AF_XDP socket takes transmit metadata: see finishByKernel. */
export function offloadChecksums(slot: u32): void {
  if (slot < MAX_QUEUES) Queue.at(slot).finishesChecksums = 1;
}

/**
 * Asks the kernel to finish a checksum in the packet at `at`: over everything from `start` on, into
 * `start` + `offset`, where the pseudo header's sum is (struct xsk_tx_metadata of linux/if_xdp.h).
 * Returns the options that the packet's descriptor has to have.
 */
export function finishByKernel(at: usize, start: u32, offset: u32): u32 {
  const metadata = at - <usize>TX_METADATA_BYTES;
  store<u64>(metadata, TX_METADATA_CHECKSUM);
  store<u64>(metadata, <u64>(start | (offset << 16)), 8);
  return TX_DESCRIPTOR_METADATA;
}

/** Starts a queue: posts `fillTarget` frames (fewer if the pool is short) and says how many. */
export function startQueue(slot: u32, fillTarget: u32): u32 {
  if (slot >= MAX_QUEUES) return 0;
  const queue = Queue.at(slot);
  if (queue.state != QueueState.Stopped) return 0;
  queue.fillTarget = min<u32>(fillTarget, FILL_RING_ENTRIES);
  queue.state = QueueState.Running;
  RegionHeader.get().queueEpoch += 1;
  refill(slot);
  return queue.posted;
}

/**
 * Forgets a queue whose AF_XDP socket is closed and takes back every frame that it held. Frames
 * are attributed to the queue by the record's interfaceSlot field while they are with the kernel.
 */
export function stopQueue(slot: u32): void {
  if (slot >= MAX_QUEUES) return;
  const queue = Queue.at(slot);
  if (queue.state == QueueState.Free) return;
  queue.state = QueueState.Free;
  queue.posted = 0;
  queue.inFlight = 0;
  const header = RegionHeader.get();
  header.queueEpoch += 1;
  for (let index: u32 = 0; index < header.freshFrames; index++) {
    const meta = FrameMeta.at(index);
    if (meta.state != <u8>FrameState.Fill && meta.state != <u8>FrameState.Transmit) continue;
    if (<u32>meta.interfaceSlot != slot) continue;
    if (meta.state == <u8>FrameState.Transmit) {
      if ((meta.marks & FrameMark.Kept) != 0) {
        meta.state = <u8>FrameState.Sending;
        continue;
      }
      releaseSendCharge(meta);
    }
    giveFrame(index);
  }
  unlinkQueue(slot);
}

function unlinkQueue(slot: u32): void {
  const queue = Queue.at(slot);
  const owner = Interface.at(queue.interfaceSlot);
  if (owner.firstQueue == slot + 1) {
    owner.firstQueue = queue.nextQueue;
    owner.queueCount -= 1;
    return;
  }
  let at = owner.firstQueue;
  for (let steps: u32 = 0; at != 0 && steps < MAX_QUEUES; steps++) {
    const previous = Queue.at(at - 1);
    if (previous.nextQueue == slot + 1) {
      previous.nextQueue = queue.nextQueue;
      owner.queueCount -= 1;
      return;
    }
    at = previous.nextQueue;
  }
}

/** Queue of the interface that a flow with this hash sends through, slot + 1; 0 if none runs. */
export function chooseQueue(interfaceSlot: u32, hash: u32): u32 {
  const owner = Interface.at(interfaceSlot);
  if (owner.queueCount == 0) return 0;
  let at = owner.firstQueue;
  let skip = hash % owner.queueCount;
  while (skip > 0 && at != 0) {
    at = Queue.at(at - 1).nextQueue;
    skip -= 1;
  }
  if (at == 0 || at > MAX_QUEUES) return 0;
  return Queue.at(at - 1).state == QueueState.Running ? at : 0;
}

/** True if a batch of frames can be posted, or so few are left that any help. */
export function isRefillDue(slot: u32): bool {
  const queue = Queue.at(slot);
  const missing = queue.fillTarget - queue.posted;
  return missing >= REFILL_BATCH_FRAMES || missing > queue.fillTarget >> 2;
}

/** Posts frames until `fillTarget` are with the kernel, or the pool is down to nothing. */
export function refill(slot: u32): void {
  const queue = Queue.at(slot);
  if (queue.posted >= queue.fillTarget) return;
  const header = RegionHeader.get();
  const ring = Queue.ring(slot, Ring.Fill);
  const room = FILL_RING_ENTRIES - ring.pending;
  const wanted = min<u32>(queue.fillTarget - queue.posted, room);
  const from = ring.producerIndex;
  header.intentQueue = slot;
  header.intentIndex = from;
  header.intentEnd = from;
  header.intent = Intent.Fill;
  const recycled = postFreeFrames(slot, from, min<u32>(wanted, header.freeFrames));
  let index = from + recycled;
  while (index - from < wanted) {
    const frame = takeFrame();
    if (frame == NO_FRAME) break;
    postFrame(slot, ring.descriptors, index, frame);
    index += 1;
  }
  ring.publishProducer(index);
  queue.posted += index - from;
  header.intent = Intent.None;
  if (ring.needsWakeup) header.rxKickQueues |= (<u64>1) << (<u64>slot);
}

/** takeFrame and postFrame for `count` frames of the free list, without their checks. */
function postFreeFrames(slot: u32, from: u32, count: u32): u32 {
  const header = RegionHeader.get();
  const entries = Queue.ring(slot, Ring.Fill).descriptors;
  const list = header.freeListOffset + ((header.freeFrames - count) << 2);
  for (let n: u32 = 0; n < count; n++) {
    const frame = load<u32>(<usize>(list + ((count - 1 - n) << 2)));
    if (frame >= header.frameCount) fault(Fault.FrameIndex);
    postFrame(slot, entries, from + n, frame);
  }
  header.freeFrames -= count;
  return count;
}

/** Writes entry `index` of the fill ring; it becomes the kernel's when the index is published. */
function postFrame(slot: u32, entries: u32, index: u32, frame: u32): void {
  const header = RegionHeader.get();
  const at = entries + (index & (FILL_RING_ENTRIES - 1)) * ADDRESS_ENTRY_BYTES;
  store<u64>(<usize>at, <u64>(frame << header.frameShift));
  const meta = FrameMeta.at(frame);
  meta.state = <u8>FrameState.Fill;
  meta.interfaceSlot = <u8>slot;
  header.intentEnd = index + 1;
}

/** After a crash while frames were being posted: those that were not published are Held again. */
export function withdrawUnpublished(slot: u32, from: u32, end: u32): void {
  const header = RegionHeader.get();
  const ring = Queue.ring(slot, Ring.Fill);
  if (ring.producerIndex != from || end - from > FILL_RING_ENTRIES) return;
  for (let index = from; index != end; index++) {
    const at = ring.descriptors + (index & (FILL_RING_ENTRIES - 1)) * ADDRESS_ENTRY_BYTES;
    const frame = <u32>(load<u64>(<usize>at) >> header.frameShift);
    if (frame < header.frameCount) FrameMeta.at(frame).state = <u8>FrameState.Held;
  }
}

/**
 * Room on the TX ring. Completions are reaped in small batches, so that the frames that are sent
 * from are few and stay in cache; every so many frames only, since there may be none yet.
 */
export function transmitRoom(slot: u32): u32 {
  const queue = Queue.at(slot);
  const inFlight = queue.inFlight;
  if (inFlight != 0 && inFlight % REAP_BATCH_FRAMES == 0) reapCompletions(slot);
  return min<u32>(TX_RING_ENTRIES, COMPLETION_RING_ENTRIES) - queue.inFlight;
}

/**
 * Queues `length` bytes at region offset `at`, inside the frame of this record, for sending.
 * Preconditions: transmitRoom(slot) > 0; the frame is Held, and its record names the queue.
 */
export function transmit(slot: u32, meta: FrameMeta, at: u32, length: u32): void {
  transmitWith(slot, meta, at, length, 0);
}

/** The same with options of the descriptor. */
export function transmitWith(slot: u32, meta: FrameMeta, at: u32, length: u32, options: u32): void {
  const header = RegionHeader.get();
  const queue = Queue.at(slot);
  const producerAt = <usize>queue.txProducer;
  const producer = load<u32>(producerAt);
  header.intentQueue = slot;
  header.intentIndex = producer;
  header.intent = Intent.Transmit;
  const entry =
    <usize>queue.txDescriptors + <usize>((producer & (TX_RING_ENTRIES - 1)) * DESCRIPTOR_BYTES);
  store<u64>(entry, <u64>(at - header.framePoolOffset));
  store<u64>(entry, <u64>length | ((<u64>options) << 32), 8);
  storeRelease32(producerAt, producer + 1);
  markTransmitted(queue, meta);
  header.intent = Intent.None;
  queue.txFrames += 1;
  queue.txBytes += <u64>length;
  if (ringNeedsWakeup(queue.txFlags)) header.kickQueues |= (<u64>1) << (<u64>slot);
}

export function markTransmitted(queue: Queue, meta: FrameMeta): void {
  meta.state = <u8>FrameState.Transmit;
  queue.inFlight += 1;
}

/** Takes back the frames that the kernel has sent. */
export function reapCompletions(slot: u32): void {
  const queue = Queue.at(slot);
  const produced = loadAcquire32(<usize>queue.completionProducer);
  const available = produced - load<u32>(<usize>queue.completionConsumer);
  if (available != 0) takeCompletions(slot, min<u32>(available, COMPLETION_RING_ENTRIES));
}

function takeCompletions(slot: u32, available: u32): void {
  const header = RegionHeader.get();
  const queue = Queue.at(slot);
  const ring = Queue.ring(slot, Ring.Completion);
  const entries = <usize>ring.descriptors;
  const from = ring.consumerIndex;
  for (let n: u32 = 0; n < available; n++) {
    const at =
      entries + <usize>(((from + n) & (COMPLETION_RING_ENTRIES - 1)) * ADDRESS_ENTRY_BYTES);
    const frame = <u32>(load<u64>(at) >> header.frameShift);
    const meta = FrameMeta.at(frame);
    if (frame >= header.frameCount || meta.state != <u8>FrameState.Transmit) {
      header.txDropDescriptor += 1;
      continue;
    }
    queue.inFlight -= 1;
    if ((meta.marks & FrameMark.Kept) != 0) {
      meta.state = <u8>FrameState.Sending;
      continue;
    }
    releaseSendCharge(meta);
    giveKnownFrame(frame, meta);
  }
  ring.publishConsumer(from + available);
}

/** Entries of the RX ring that can be read now. */
export function receivable(slot: u32): u32 {
  return min<u32>(Queue.ring(slot, Ring.Rx).available, RX_RING_ENTRIES);
}

export function checkQueueLayout(): void {
  if (offsetof<Queue>("rxFrames") != 64) ERROR("Queue.rxFrames moved");
  if (offsetof<Queue>("completionProducer") != 48) ERROR("Queue ring places moved");
  if (offsetof<Queue>() > QUEUE_BYTES) ERROR("Queue is larger than its slot");
}
