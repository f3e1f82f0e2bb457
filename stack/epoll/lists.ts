// The lists and the table that items are in.

import { mix } from "../base/hash";
import { EPOLL_BUCKETS, MAX_EPOLL_ITEMS } from "../config";
import { storeRelease32 } from "../host";
import { EPOLL_CHAINS_OFFSET } from "../layout";
import { RegionHeader } from "../region/header";
import { isSocket, Socket } from "../socket/socket";
import { EPOLL_EXCLUSIVE, EpollItem, EpollSet, isItem, isSet, ItemFlag } from "./set";

function chainOf(set: u32, fd: u32): usize {
  return <usize>(EPOLL_CHAINS_OFFSET + ((mix(set, fd) & (EPOLL_BUCKETS - 1)) << 2));
}

export function clearItemTable(): void {
  memory.fill(<usize>EPOLL_CHAINS_OFFSET, 0, <usize>(EPOLL_BUCKETS * 4));
}

/** The item of this descriptor that has this target, or 0: the number may have had another. */
export function findItem(set: u32, fd: u32, target: u32, inner: bool): u32 {
  let at = load<u32>(chainOf(set, fd));
  for (let steps: u32 = 0; at != 0 && at < MAX_EPOLL_ITEMS && steps < MAX_EPOLL_ITEMS; steps++) {
    const item = EpollItem.at(at);
    const isSame = item.set == set && item.fd == fd && item.target == target;
    if (isSame && item.has(ItemFlag.Inner) == inner) return at;
    at = item.hashNext;
  }
  return 0;
}

function unlinkHash(index: u32): void {
  const gone = EpollItem.at(index);
  const chain = chainOf(gone.set, gone.fd);
  let at = load<u32>(chain);
  if (at == index) {
    store<u32>(chain, gone.hashNext);
    return;
  }
  for (let steps: u32 = 0; at != 0 && at < MAX_EPOLL_ITEMS && steps < MAX_EPOLL_ITEMS; steps++) {
    const item = EpollItem.at(at);
    if (item.hashNext == index) {
      item.hashNext = gone.hashNext;
      return;
    }
    at = item.hashNext;
  }
}

/** Head of the ring of items that have this target. */
export function itemsOf(target: u32, inner: bool): u32 {
  return inner ? EpollSet.at(target).outer : Socket.at(target).items;
}

function setItemsOf(target: u32, inner: bool, head: u32): void {
  if (inner) EpollSet.at(target).outer = head;
  else Socket.at(target).items = head;
}

/** As Linux's wait queues: exclusive ones at the end, others in front. */
function linkTarget(index: u32): void {
  const item = EpollItem.at(index);
  const inner = item.has(ItemFlag.Inner);
  const head = itemsOf(item.target, inner);
  if (head == 0) {
    item.targetNext = index;
    item.targetPrevious = index;
    setItemsOf(item.target, inner, index);
    return;
  }
  const tail = EpollItem.at(head).targetPrevious;
  item.targetNext = head;
  item.targetPrevious = tail;
  EpollItem.at(tail).targetNext = index;
  EpollItem.at(head).targetPrevious = index;
  if ((item.events & EPOLL_EXCLUSIVE) == 0) setItemsOf(item.target, inner, index);
}

function unlinkTarget(index: u32): void {
  const item = EpollItem.at(index);
  const inner = item.has(ItemFlag.Inner);
  const next = item.targetNext;
  const isHead = itemsOf(item.target, inner) == index;
  EpollItem.at(item.targetPrevious).targetNext = next;
  EpollItem.at(next).targetPrevious = item.targetPrevious;
  if (isHead) setItemsOf(item.target, inner, next == index ? 0 : next);
}

function linkSet(index: u32): void {
  const item = EpollItem.at(index);
  const set = EpollSet.at(item.set);
  item.setPrevious = 0;
  item.setNext = set.items;
  if (set.items != 0) EpollItem.at(set.items).setPrevious = index;
  set.items = index;
}

function unlinkSet(index: u32): void {
  const item = EpollItem.at(index);
  if (item.setPrevious != 0) EpollItem.at(item.setPrevious).setNext = item.setNext;
  else EpollSet.at(item.set).items = item.setNext;
  if (item.setNext != 0) EpollItem.at(item.setNext).setPrevious = item.setPrevious;
}

/** Into the table, the target's ring and the set's list. */
export function linkItem(index: u32): void {
  const item = EpollItem.at(index);
  const chain = chainOf(item.set, item.fd);
  item.hashNext = load<u32>(chain);
  store<u32>(chain, index);
  linkTarget(index);
  linkSet(index);
  if ((item.events & EPOLL_EXCLUSIVE) != 0) EpollSet.at(item.set).exclusives += 1;
}

function publishReady(set: EpollSet, count: u32): void {
  storeRelease32(changetype<usize>(set) + offsetof<EpollSet>("readyCount"), count);
}

/** To the end of its set's ready list, or to the front, if it is not in it. */
export function markReady(index: u32, front: bool): void {
  const item = EpollItem.at(index);
  if (item.has(ItemFlag.Ready)) return;
  const set = EpollSet.at(item.set);
  item.flags |= <u16>ItemFlag.Ready;
  item.readyNext = front ? set.readyHead : 0;
  item.readyPrevious = front ? 0 : set.readyTail;
  if (item.readyNext != 0) EpollItem.at(item.readyNext).readyPrevious = index;
  else set.readyTail = index;
  if (item.readyPrevious != 0) EpollItem.at(item.readyPrevious).readyNext = index;
  else set.readyHead = index;
  publishReady(set, set.readyCount + 1);
}

export function unmarkReady(index: u32): void {
  const item = EpollItem.at(index);
  if (!item.has(ItemFlag.Ready)) return;
  const set = EpollSet.at(item.set);
  item.flags &= ~(<u16>ItemFlag.Ready);
  if (item.readyPrevious != 0) EpollItem.at(item.readyPrevious).readyNext = item.readyNext;
  else set.readyHead = item.readyNext;
  if (item.readyNext != 0) EpollItem.at(item.readyNext).readyPrevious = item.readyPrevious;
  else set.readyTail = item.readyPrevious;
  publishReady(set, set.readyCount - 1);
}

/** A free item, or 0 when MAX_EPOLL_ITEMS are in use. It is free until `set` is written. */
export function claimItem(): u32 {
  const header = RegionHeader.get();
  const index = header.freeItemHead;
  if (index != 0) {
    header.freeItemHead = EpollItem.at(index).hashNext;
    return index;
  }
  const fresh = max<u32>(header.itemHigh, 1);
  if (fresh >= MAX_EPOLL_ITEMS) return 0;
  header.itemHigh = fresh + 1;
  return fresh;
}

/** The slot is free, whatever it was. */
export function freeItem(index: u32): void {
  const header = RegionHeader.get();
  const item = EpollItem.at(index);
  item.set = 0;
  item.flags = 0;
  item.generation += 1;
  item.hashNext = header.freeItemHead;
  header.freeItemHead = index;
}

export function removeItem(index: u32): void {
  const item = EpollItem.at(index);
  unmarkReady(index);
  unlinkHash(index);
  unlinkTarget(index);
  unlinkSet(index);
  if ((item.events & EPOLL_EXCLUSIVE) != 0) EpollSet.at(item.set).exclusives -= 1;
  freeItem(index);
}

/** The target is no more: neither are its items. */
export function removeItemsOf(target: u32, inner: bool): void {
  for (let head = itemsOf(target, inner); isItem(head); head = itemsOf(target, inner)) {
    removeItem(head);
  }
}

/** True if what the item says of itself can be. */
export function isItemWhole(index: u32): bool {
  const item = EpollItem.at(index);
  if (!isSet(item.set)) return false;
  return item.has(ItemFlag.Inner) ? isSet(item.target) : isSocket(item.target);
}
