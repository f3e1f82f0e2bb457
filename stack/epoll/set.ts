// Epoll sets and their items, after Linux's fs/eventpoll.c: an item is one descriptor in one set.
// It hangs in the list of its target (a socket, or an inner set), in that of its set, and, while
// something may be true of it, in its set's ready list.

import { MAX_EPOLL_ITEMS, MAX_EPOLL_SETS } from "../config";
import {
  EPOLL_ITEM_BYTES,
  EPOLL_ITEMS_OFFSET,
  EPOLL_SET_BYTES,
  EPOLL_SETS_OFFSET,
} from "../layout";

/** Bits of epoll_ctl(2) that say how, not what. */
export const EPOLL_EXCLUSIVE: u32 = 0x10000000;
export const EPOLL_WAKE_UP: u32 = 0x20000000;
export const EPOLL_ONE_SHOT: u32 = 0x40000000;
export const EPOLL_EDGES: u32 = 0x80000000;
/** All of them: Linux's EP_PRIVATE_BITS. */
export const EPOLL_PRIVATE: u32 = 0xf0000000;

/** What the kernel's epoll instance knows of an item, beside the region. */
export const enum Half {
  /** Nothing: the stack alone has the socket. */
  None = 0,
  /** The kernel socket, but not whether it can be written to. */
  WithoutOut = 1,
  Whole = 2,
}

export const enum ItemFlag {
  /** It is in its set's ready list. */
  Ready = 1,
  /** The target is a set. */
  Inner = 2,
}

@final
@unmanaged
export class EpollItem {
  /** The program's. */
  data: u64;
  /** Wanted; of a one-shot item that has fired, only EPOLL_PRIVATE is left. */
  events: u32;
  /** The number under which it was added. */
  fd: u32;
  /** 0 marks a free slot. */
  set: u32;
  /** Index of a socket, or of the inner set. */
  target: u32;
  /** ItemFlag bits. */
  flags: u16;
  /** A Half. */
  half: u16;
  /** What the kernel's half was ready for and nobody has heard of yet. */
  kernelEvents: u32;
  /** Tells uses of the slot apart. */
  generation: u32;
  /** Chain of the table by set and descriptor, or of free items. */
  hashNext: u32;
  /** Rings and a list; all are indices. */
  targetNext: u32;
  targetPrevious: u32;
  setNext: u32;
  setPrevious: u32;
  readyNext: u32;
  readyPrevious: u32;

  has(flag: ItemFlag): bool {
    return (this.flags & <u16>flag) != 0;
  }

  /** False between the firing of a one-shot item and EPOLL_CTL_MOD. */
  get isArmed(): bool {
    return (this.events & ~EPOLL_PRIVATE) != 0;
  }

  static at(index: u32): EpollItem {
    return changetype<EpollItem>(<usize>(EPOLL_ITEMS_OFFSET + index * EPOLL_ITEM_BYTES));
  }
}

@final
@unmanaged
export class EpollSet {
  /** First and last of the ready list, and how many are in it, which is read without the lock. */
  readyHead: u32;
  readyTail: u32;
  readyCount: u32;
  /** Its items, and the items of outer sets that have it as their target. */
  items: u32;
  outer: u32;
  /** Threads that wait in it, slot + 1; the one that came last is woken first. */
  waiters: u32;
  /** Who refers to it (epoll/references.ts); 0 marks a free slot. */
  references: u32;
  /** Items with EPOLLEXCLUSIVE. */
  exclusives: u32;
  nextFree: u32;

  static at(index: u32): EpollSet {
    return changetype<EpollSet>(<usize>(EPOLL_SETS_OFFSET + index * EPOLL_SET_BYTES));
  }
}

/** What epollCollect reports. */
@final
@unmanaged
export class EpollEvent {
  data: u64;
  /** 0: nothing is reported, but the kernel is to know more of the item than it does. */
  events: u32;
  item: u32;
}

export function isSet(index: u32): bool {
  return index != 0 && index < MAX_EPOLL_SETS && EpollSet.at(index).references != 0;
}

export function isItem(index: u32): bool {
  return index != 0 && index < MAX_EPOLL_ITEMS && EpollItem.at(index).set != 0;
}

export function checkEpollLayout(): void {
  if (offsetof<EpollItem>() > EPOLL_ITEM_BYTES) ERROR("EpollItem is larger than its slot");
  if (offsetof<EpollSet>() > EPOLL_SET_BYTES) ERROR("EpollSet is larger than its slot");
}
