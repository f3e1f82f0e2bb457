// epoll_ctl and epoll_wait for what the stack knows, as stack/index.ts exports them.

import { EPOLL_EVENTS_MAX, MAX_EPOLL_SETS } from "../config";
import { storeRelease32 } from "../host";
import { EPOLL_EVENTS_OFFSET } from "../layout";
import { RegionHeader } from "../region/header";
import { isSocket } from "../socket/socket";
import { forgetSetWaiters, wakeInSet, wakePollers } from "../wait/waiter";
import { claimItem, findItem, linkItem, markReady } from "./lists";
import { removeItem, removeItemsOf, unmarkReady } from "./lists";
import { readyItem } from "./notify";
import { isKernelBehind, itemEvents } from "./readiness";
import { EPOLL_EDGES, EPOLL_EXCLUSIVE, EPOLL_ONE_SHOT, EPOLL_PRIVATE, EPOLL_WAKE_UP } from "./set";
import { EpollEvent, EpollItem, EpollSet, Half } from "./set";
import { isItem, isSet, ItemFlag } from "./set";

const ENOENT: i32 = 2;
const EEXIST: i32 = 17;
const EINVAL: i32 = 22;
const ENOSPC: i32 = 28;
/** EPOLLERR and EPOLLHUP, which are always wanted. */
const ALWAYS: u32 = 24;
/** EPOLLIN, EPOLLOUT and these: all that may go with EPOLLEXCLUSIVE. */
const EXCLUSIVE_OK: u32 = ALWAYS | 5 | EPOLL_EXCLUSIVE | EPOLL_WAKE_UP;
/** Bits of epollAdd's `kind`. */
const KIND_HALF: u32 = 3;
const KIND_INNER: u32 = 4;
/** The part of an item's generation that the kernel keeps for us. */
const GENERATION_MASK: u32 = 255;

/** Index of a free set, or 0. It is in use once somebody refers to it. */
export function claimSet(): u32 {
  const header = RegionHeader.get();
  let index = header.freeSetHead;
  if (index != 0) {
    header.freeSetHead = EpollSet.at(index).nextFree;
  } else {
    index = max<u32>(header.setHigh, 1);
    if (index >= MAX_EPOLL_SETS) return 0;
    header.setHigh = index + 1;
  }
  memory.fill(changetype<usize>(EpollSet.at(index)), 0, offsetof<EpollSet>());
  return index;
}

/** Nobody refers to the set any more. */
export function destroySet(index: u32): void {
  const header = RegionHeader.get();
  const set = EpollSet.at(index);
  while (isItem(set.items)) removeItem(set.items);
  removeItemsOf(index, true);
  forgetSetWaiters(index);
  set.references = 0;
  set.nextFree = header.freeSetHead;
  header.freeSetHead = index;
}

/** EPOLL_CTL_ADD: see index.ts. */
export function addItem(set: u32, fd: u32, target: u32, kind: u32, events: u32, data: u64): i32 {
  const inner = (kind & KIND_INNER) != 0;
  const isTarget = inner ? isSet(target) : isSocket(target);
  if (!isSet(set) || !isTarget) return -EINVAL;
  const isExclusive = (events & EPOLL_EXCLUSIVE) != 0;
  const odd = events & ~(EXCLUSIVE_OK | EPOLL_EDGES);
  if (isExclusive && (inner || odd != 0)) return -EINVAL;
  if (findItem(set, fd, target, inner) != 0) return -EEXIST;
  const index = claimItem();
  if (index == 0) return -ENOSPC;
  const item = EpollItem.at(index);
  item.data = data;
  item.events = events & EPOLL_PRIVATE;
  item.fd = fd;
  item.target = target;
  item.flags = <u16>(inner ? ItemFlag.Inner : 0);
  item.half = <u16>(kind & KIND_HALF);
  item.kernelEvents = 0;
  storeRelease32(changetype<usize>(item) + offsetof<EpollItem>("set"), set);
  linkItem(index);
  return <i32>index;
}

/** Says what is wanted of the item, and looks at once whether it is so. */
export function armItem(index: u32, events: u32, data: u64): void {
  if (!isItem(index)) return;
  const item = EpollItem.at(index);
  item.data = data;
  item.events = events | ALWAYS;
  item.kernelEvents = 0;
  if (item.has(ItemFlag.Ready) || (itemEvents(index, 0) & item.events) == 0) return;
  readyItem(index, 0);
  wakePollers(item.set);
}

/** EPOLL_CTL_MOD: the item, or -ENOENT, or -EINVAL. */
export function modifyItem(set: u32, fd: u32, target: u32, kind: u32, events: u32, data: u64): i32 {
  if ((events & EPOLL_EXCLUSIVE) != 0) return -EINVAL;
  const index = isSet(set) ? findItem(set, fd, target, (kind & KIND_INNER) != 0) : 0;
  if (index == 0) return -ENOENT;
  const item = EpollItem.at(index);
  if ((item.events & EPOLL_EXCLUSIVE) != 0) return -EINVAL;
  item.half = <u16>(kind & KIND_HALF);
  armItem(index, events, data);
  return <i32>index;
}

/** EPOLL_CTL_DEL: 0, or -ENOENT. */
export function deleteItem(set: u32, fd: u32, target: u32, inner: bool): i32 {
  const index = isSet(set) ? findItem(set, fd, target, inner) : 0;
  if (index == 0) return -ENOENT;
  removeItem(index);
  return 0;
}

/** The kernel's half of an item is ready. False if there is no such item, or no such half. */
export function deliver(set: u32, index: u32, generation: u32, fd: u32, events: u32): bool {
  if (!isItem(index)) return false;
  const item = EpollItem.at(index);
  const isSame = (item.generation & GENERATION_MASK) == generation && item.fd == fd;
  if (!isSame || item.set != set || item.half == <u16>Half.None) return false;
  if (!item.isArmed) return true;
  item.kernelEvents |= events & item.events;
  if (item.kernelEvents == 0) return true;
  // In front: what the kernel said is to be told before it is no longer true.
  unmarkReady(index);
  markReady(index, true);
  return true;
}

/** Writes up to `room` events to EPOLL_EVENTS_OFFSET: Linux's ep_send_events. */
export function collect(index: u32, room: u32): u32 {
  if (!isSet(index)) return 0;
  const set = EpollSet.at(index);
  const most = min<u32>(room, EPOLL_EVENTS_MAX);
  let count: u32 = 0;
  for (let left = set.readyCount; left > 0 && count < most; left--) {
    const at = set.readyHead;
    const item = EpollItem.at(at);
    unmarkReady(at);
    const events = (itemEvents(at, 0) & item.events) | item.kernelEvents;
    item.kernelEvents = 0;
    if (events == 0 && !isKernelBehind(item)) continue;
    const event = changetype<EpollEvent>(<usize>EPOLL_EVENTS_OFFSET + <usize>count * 16);
    event.data = item.data;
    event.events = events;
    event.item = at;
    count += 1;
    if (events == 0) continue;
    if ((item.events & EPOLL_ONE_SHOT) != 0) item.events &= EPOLL_PRIVATE;
    else if ((item.events & EPOLL_EDGES) == 0) markReady(at, false);
  }
  if (set.readyCount != 0) wakeInSet(index);
  return count;
}

/** The kernel's epoll instance knows all of the item now. */
export function noteHalf(index: u32, half: u32): void {
  if (isItem(index) && half <= <u32>Half.Whole) EpollItem.at(index).half = <u16>half;
}
