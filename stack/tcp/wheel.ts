// Timers of connections: a timing wheel of two levels (Varghese and Lauck). A connection is in it
// once, under the earliest of its deadlines. A deadline that moves back, as the retransmission
// timer's does with every acknowledgment, leaves it where it is: it is looked at early, and moved.

import { MAX_SOCKETS } from "../config";
import { WHEEL_OFFSET, WHEEL_SLOTS } from "../layout";
import { RegionHeader } from "../region/header";
import { Tcb } from "./tcb";

/** A tick is 2^20 ns, about a millisecond. */
const TICK_SHIFT: u64 = 20;
const SLOT_SHIFT: u64 = 10;
const SLOT_MASK: u64 = 1023;
const BITS_OFFSET: u32 = WHEEL_OFFSET + 2 * WHEEL_SLOTS * 4;
const BITS_BYTES: u32 = WHEEL_SLOTS / 8;
export const NEVER: u64 = 0xffffffffffffffff;

/** Slots are numbered through both levels: 0 to 1023 ticks, 1024 to 2047 blocks of 1024 ticks. */
function slotAt(slot: u32): usize {
  return <usize>(WHEEL_OFFSET + (slot << 2));
}

function bitWordAt(slot: u32): usize {
  return <usize>(BITS_OFFSET + ((slot >> 6) << 3));
}

function link(index: u32, slot: u32): void {
  const tcb = Tcb.at(index);
  const head = load<u32>(slotAt(slot));
  tcb.wheelNext = head;
  tcb.wheelPrev = 0;
  tcb.wheelSlot = slot + 1;
  if (head != 0) Tcb.at(head).wheelPrev = index;
  store<u32>(slotAt(slot), index);
  const word = bitWordAt(slot);
  store<u64>(word, load<u64>(word) | ((<u64>1) << (<u64>(slot & 63))));
}

/** Takes the connection out of the wheel. */
export function wheelRemove(index: u32): void {
  const tcb = Tcb.at(index);
  const slot = tcb.wheelSlot - 1;
  if (tcb.wheelSlot == 0) return;
  if (tcb.wheelPrev != 0) Tcb.at(tcb.wheelPrev).wheelNext = tcb.wheelNext;
  else store<u32>(slotAt(slot), tcb.wheelNext);
  if (tcb.wheelNext != 0) Tcb.at(tcb.wheelNext).wheelPrev = tcb.wheelPrev;
  if (load<u32>(slotAt(slot)) == 0) {
    const word = bitWordAt(slot);
    store<u64>(word, load<u64>(word) & ~((<u64>1) << (<u64>(slot & 63))));
  }
  tcb.wheelSlot = 0;
  tcb.wheelAt = NEVER;
  RegionHeader.get().wheelCount -= 1;
}

/** Makes sure that the connection is looked at no later than `at`. */
export function wheelCover(index: u32, at: u64): void {
  const tcb = Tcb.at(index);
  if (tcb.wheelSlot != 0) {
    if (tcb.wheelAt <= at) return;
    wheelRemove(index);
  }
  const header = RegionHeader.get();
  const now = header.wheelTick;
  // Rounded up: a timer never fires early.
  let tick = max<u64>((at + (((<u64>1) << TICK_SHIFT) - 1)) >> TICK_SHIFT, now + 1);
  header.wheelCount += 1;
  tcb.wheelAt = at;
  if (tick - now < <u64>WHEEL_SLOTS) {
    link(index, <u32>(tick & SLOT_MASK));
  } else {
    // Beyond the second level it is looked at early, and put back.
    const block = min<u64>(tick >> SLOT_SHIFT, (now >> SLOT_SHIFT) + SLOT_MASK);
    link(index, WHEEL_SLOTS + <u32>(block & SLOT_MASK));
    tick = block << SLOT_SHIFT;
  }
  const due = tick << TICK_SHIFT;
  if (due < header.nextTimerNanos) header.nextTimerNanos = due;
}

/** Distance from slot `from` of a level to its next slot in use, going round; 1024 if none is. */
function distance(level: u32, from: u32): u32 {
  const base = level << 10;
  for (let done: u32 = 0; done < WHEEL_SLOTS; ) {
    const slot = (from + done) & <u32>SLOT_MASK;
    const bits = load<u64>(bitWordAt(base + slot)) >> <u64>(slot & 63);
    if (bits != 0) {
      const found = done + <u32>ctz<u64>(bits);
      return min<u32>(found, WHEEL_SLOTS);
    }
    done += 64 - (slot & 63);
  }
  return WHEEL_SLOTS;
}

/** The next tick at which something is to do, or NEVER. */
function nextTick(): u64 {
  const header = RegionHeader.get();
  if (header.wheelCount == 0) return NEVER;
  const now = header.wheelTick;
  let next: u64 = NEVER;
  const near = distance(0, <u32>((now + 1) & SLOT_MASK));
  if (near < WHEEL_SLOTS) next = now + 1 + <u64>near;
  const block = now >> SLOT_SHIFT;
  const far = distance(1, <u32>((block + 1) & SLOT_MASK));
  if (far < WHEEL_SLOTS) next = min<u64>(next, (block + 1 + <u64>far) << SLOT_SHIFT);
  return next;
}

/** Moves what is in a block's slot to where it belongs now. */
function cascade(slot: u32): void {
  for (let steps: u32 = 0; steps < MAX_SOCKETS; steps++) {
    const index = load<u32>(slotAt(slot));
    if (index == 0) return;
    const at = Tcb.at(index).wheelAt;
    wheelRemove(index);
    wheelCover(index, at);
  }
}

/** The first connection in the slot of the present tick, or 0. */
function dueNow(): u32 {
  return load<u32>(slotAt(<u32>(RegionHeader.get().wheelTick & SLOT_MASK)));
}

/**
 * The next connection whose time has come, taken out of the wheel, or 0 when there is none up to
 * `now`. The caller calls wheelCover for it again, if a timer still runs.
 */
export function wheelExpire(now: u64): u32 {
  const header = RegionHeader.get();
  const target = now >> TICK_SHIFT;
  let index = dueNow();
  while (index == 0) {
    const next = nextTick();
    if (next > target) {
      header.wheelTick = max<u64>(target, header.wheelTick);
      header.nextTimerNanos = next == NEVER ? NEVER : next << TICK_SHIFT;
      return 0;
    }
    header.wheelTick = next;
    if ((next & SLOT_MASK) == 0) cascade(WHEEL_SLOTS + <u32>((next >> SLOT_SHIFT) & SLOT_MASK));
    index = dueNow();
  }
  wheelRemove(index);
  return index;
}

/** Empties the wheel, before recovery puts the connections in again. */
export function clearWheel(): void {
  const header = RegionHeader.get();
  memory.fill(<usize>WHEEL_OFFSET, 0, <usize>(2 * WHEEL_SLOTS * 4 + 2 * BITS_BYTES));
  header.wheelCount = 0;
  header.nextTimerNanos = NEVER;
}
