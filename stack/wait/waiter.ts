// Threads that sleep. A sleeper names the sockets that it waits for by a mask of 64 interest bits
// (socket index modulo 64): a rare needless wake-up is cheaper than exact lists. One sleeper, the
// leader, also sleeps on the AF_XDP sockets; when it stops, a successor is woken to take over.

import { MAX_WAITERS } from "../config";
import { notifyItems } from "../epoll/notify";
import { EpollSet, isSet } from "../epoll/set";
import { loadAcquire32 } from "../host";
import { WAITER_BYTES, WAITERS_OFFSET } from "../layout";
import { RegionHeader } from "../region/header";
import { Socket } from "../socket/socket";

export const enum WaiterState {
  Free = 0,
  Awake = 1,
  Sleeping = 2,
  /** Its doorbell was, or is about to be, rung. */
  Signalled = 3,
}

@final
@unmanaged
export class Waiter {
  /** Interest bits while it sleeps. */
  mask: u64;
  /** A WaiterState. */
  state: u32;
  client: u32;
  /** Epoll set that it sleeps in; 0 none. */
  set: u32;
  /** Others that sleep in the set, slot + 1. */
  setNext: u32;
  setPrevious: u32;
  /** Behind it in the list of those whose doorbells are to be rung, slot + 1, and if it is there. */
  wakeNext: u32;
  isWaking: u32;

  static at(slot: u32): Waiter {
    return changetype<Waiter>(<usize>(WAITERS_OFFSET + slot * WAITER_BYTES));
  }
}

/** A slot for a thread of this client, or -1 when MAX_WAITERS are in use. Slot 0 is exasockd's. */
export function addWaiter(client: u32): i32 {
  const header = RegionHeader.get();
  for (let slot: u32 = 1; slot < MAX_WAITERS; slot++) {
    const waiter = Waiter.at(slot);
    if (waiter.state != WaiterState.Free) continue;
    waiter.state = WaiterState.Awake;
    waiter.client = client;
    waiter.mask = 0;
    waiter.set = 0;
    if (header.waiterHigh <= slot) header.waiterHigh = slot + 1;
    return <i32>slot;
  }
  return -1;
}

export function removeWaiter(slot: u32): void {
  if (slot == 0 || slot >= MAX_WAITERS) return;
  disarmWaiter(slot);
  Waiter.at(slot).state = WaiterState.Free;
}

/** Removes every waiter of a client that is gone. */
export function removeClientWaiters(client: u32): void {
  const high = RegionHeader.get().waiterHigh;
  for (let slot: u32 = 1; slot < high; slot++) {
    const waiter = Waiter.at(slot);
    if (waiter.state != WaiterState.Free && waiter.client == client) removeWaiter(slot);
  }
}

/**
 * The thread is about to sleep: for sockets, in an epoll set, or both. 1 if it has to sleep on the
 * AF_XDP sockets, too.
 */
export function armWaiter(slot: u32, mask: u64, set: u32): u32 {
  if (slot == 0 || slot >= MAX_WAITERS) return 0;
  const header = RegionHeader.get();
  const waiter = Waiter.at(slot);
  if (waiter.state == WaiterState.Awake) header.sleepers += 1;
  waiter.state = WaiterState.Sleeping;
  setMask(waiter, mask);
  leaveSet(slot);
  if (isSet(set)) enterSet(slot, set);
  if (header.leader == 0) header.leader = slot + 1;
  return header.leader == slot + 1 ? 1 : 0;
}

/** The thread is awake. If it led, another sleeper is asked to take over. */
export function disarmWaiter(slot: u32): void {
  if (slot == 0 || slot >= MAX_WAITERS) return;
  const header = RegionHeader.get();
  const waiter = Waiter.at(slot);
  if (waiter.state == WaiterState.Sleeping || waiter.state == WaiterState.Signalled) {
    header.sleepers -= 1;
    waiter.state = WaiterState.Awake;
  }
  setMask(waiter, 0);
  leaveSet(slot);
  if (header.leader != slot + 1) return;
  header.leader = 0;
  for (let other: u32 = 1; other < header.waiterHigh; other++) {
    if (Waiter.at(other).state == WaiterState.Sleeping) {
      header.successor = other + 1;
      return;
    }
  }
}

function setMask(waiter: Waiter, mask: u64): void {
  const header = RegionHeader.get();
  if (waiter.mask != 0) header.maskSleepers -= 1;
  if (mask != 0) header.maskSleepers += 1;
  waiter.mask = mask;
}

function enterSet(slot: u32, set: u32): void {
  const waiter = Waiter.at(slot);
  const first = EpollSet.at(set).waiters;
  waiter.set = set;
  waiter.setPrevious = 0;
  waiter.setNext = first;
  if (first != 0) Waiter.at(first - 1).setPrevious = slot + 1;
  EpollSet.at(set).waiters = slot + 1;
}

function leaveSet(slot: u32): void {
  const waiter = Waiter.at(slot);
  const set = waiter.set;
  waiter.set = 0;
  if (set == 0) return;
  const next = waiter.setNext;
  if (waiter.setPrevious != 0) Waiter.at(waiter.setPrevious - 1).setNext = next;
  else EpollSet.at(set).waiters = next;
  if (next != 0) Waiter.at(next - 1).setPrevious = waiter.setPrevious;
}

/**
 * The thread waits in the set without sleeping: an event with EPOLLEXCLUSIVE that it takes is for
 * no other set. It does so until it is disarmed, or an event was meant for it.
 */
export function enterWaiter(slot: u32, set: u32): void {
  if (slot == 0 || slot >= MAX_WAITERS || !isSet(set)) return;
  leaveSet(slot);
  enterSet(slot, set);
}

/** The set is no more; who sleeps in it goes on sleeping. */
export function forgetSetWaiters(set: u32): void {
  for (let first = EpollSet.at(set).waiters; first != 0; first = EpollSet.at(set).waiters) {
    leaveSet(first - 1);
  }
}

/** Wakes the thread that came last to sleep in the set. False if there is none. */
export function wakeInSet(set: u32): bool {
  const first = EpollSet.at(set).waiters;
  if (first == 0) return false;
  leaveSet(first - 1);
  const waiter = Waiter.at(first - 1);
  if (waiter.state != WaiterState.Sleeping) return true;
  signal(first - 1);
  return true;
}

/** Its doorbell is to be rung. */
function signal(slot: u32): void {
  const header = RegionHeader.get();
  const waiter = Waiter.at(slot);
  waiter.state = WaiterState.Signalled;
  if (waiter.isWaking != 0) return;
  waiter.isWaking = 1;
  waiter.wakeNext = header.wakeHead;
  header.wakeHead = slot + 1;
}

/** Something happened to this socket: who waits for such events (EVENTS_ALL: any) is woken. */
export function notifySocket(index: u32, events: u32): void {
  const items = Socket.at(index).items;
  if (items != 0) notifyItems(items, events, 0);
  wakeSleepers(index);
}

/** The same for those alone who sleep for the socket itself, or poll an epoll set. */
export function wakeSleepers(index: u32): void {
  const header = RegionHeader.get();
  if (header.maskSleepers == 0) return;
  header.wakeMask |= (<u64>1) << (<u64>(index & 63));
  header.wakeCursor = 0;
}

/** A set became ready by itself, not by an event of a socket: who polls sets is woken. */
export function wakePollers(set: u32): void {
  wakeSleepers(set);
}

/** Something happened that any sleeper may wait for: all are to be woken. */
export function notifyAll(): void {
  const header = RegionHeader.get();
  if (header.maskSleepers == 0) return;
  header.wakeMask = ~(<u64>0);
  header.wakeCursor = 0;
}

/** True if nextWakeup has something to say: the cheap test before it. */
export function wakeupsPending(): bool {
  const header = RegionHeader.get();
  if (header.wakeMask != 0 || header.wakeHead != 0) return true;
  return header.successor != 0 || header.daemonWanted == 1;
}

/**
 * Slot of the next waiter whose doorbell is to be rung, or -1 when all were named. A waiter is
 * named once per sleep.
 */
export function nextWakeup(): i32 {
  const header = RegionHeader.get();
  if (header.daemonWanted == 1) {
    // 2: exasockd was told; nextRequest resets it when the list is empty.
    header.daemonWanted = 2;
    return 0;
  }
  while (header.wakeHead != 0) {
    const slot = header.wakeHead - 1;
    const waiter = Waiter.at(slot);
    header.wakeHead = waiter.wakeNext;
    waiter.isWaking = 0;
    if (waiter.state != WaiterState.Signalled) continue;
    header.wakeups += 1;
    return <i32>slot;
  }
  const successor = header.successor;
  if (successor != 0) {
    header.successor = 0;
    const waiter = Waiter.at(successor - 1);
    if (successor <= MAX_WAITERS && waiter.state == WaiterState.Sleeping) {
      waiter.state = WaiterState.Signalled;
      header.wakeups += 1;
      return <i32>(successor - 1);
    }
  }
  if (header.wakeMask == 0) return -1;
  for (let slot = max<u32>(header.wakeCursor, 1); slot < header.waiterHigh; slot++) {
    const waiter = Waiter.at(slot);
    if (waiter.state != WaiterState.Sleeping || (waiter.mask & header.wakeMask) == 0) continue;
    waiter.state = WaiterState.Signalled;
    header.wakeCursor = slot + 1;
    header.wakeups += 1;
    return <i32>slot;
  }
  header.wakeMask = 0;
  header.wakeCursor = 0;
  return -1;
}

/** After a crash: the counts anew from the slots. */
export function rebuildWaiters(): void {
  const header = RegionHeader.get();
  let sleepers: u32 = 0;
  let masks: u32 = 0;
  header.wakeHead = 0;
  for (let slot: u32 = 1; slot < header.waiterHigh; slot++) {
    const waiter = Waiter.at(slot);
    const state = loadAcquire32(changetype<usize>(waiter) + offsetof<Waiter>("state"));
    const isAsleep = state == WaiterState.Sleeping || state == WaiterState.Signalled;
    const set = waiter.set;
    waiter.set = 0;
    waiter.isWaking = 0;
    if (!isAsleep) {
      waiter.mask = 0;
      continue;
    }
    sleepers += 1;
    if (waiter.mask != 0) masks += 1;
    // One that was signalled may not have been rung yet.
    if (isSet(set) || state == WaiterState.Signalled) signal(slot);
  }
  header.sleepers = sleepers;
  header.maskSleepers = masks;
  header.wakeCursor = 0;
  // Whoever was owed a wake-up gets one: needless ones do no harm.
  header.wakeMask = ~(<u64>0);
}

export function checkWaiterLayout(): void {
  if (offsetof<Waiter>() > WAITER_BYTES) ERROR("Waiter is larger than its slot");
}
