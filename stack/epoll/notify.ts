// From an event to the threads that wait for it: Linux's ep_poll_callback.

import { MAX_EPOLL_ITEMS } from "../config";
import { EVENTS_ALL } from "../wait/events";
import { wakeInSet } from "../wait/waiter";
import { markReady } from "./lists";
import { NESTS_MAX } from "./readiness";
import { EPOLL_EXCLUSIVE, EpollItem, EpollSet } from "./set";

/** What an outer set hears of an inner one: Linux's ep_poll_safewake. */
const EPOLLIN: u32 = 1;
/** EPOLLIN and EPOLLOUT. */
const IN_OUT: u32 = 5;

/**
 * Tells the ring of items that begins with `head`. Of those with EPOLLEXCLUSIVE, which are at its
 * end, the first whose set has a waiting thread is the last to hear; of a change of state all hear.
 */
export function notifyItems(head: u32, events: u32, depth: u32): void {
  let at = head;
  for (let steps: u32 = 0; steps < MAX_EPOLL_ITEMS; steps++) {
    const item = EpollItem.at(at);
    const next = item.targetNext;
    if (item.isArmed && (item.events & events) != 0) {
      const isAwake = readyItem(at, depth);
      const isEnough = isAwake && (item.events & EPOLL_EXCLUSIVE) != 0;
      const inOut = events & IN_OUT;
      const isMeant = inOut == 0 || (item.events & inOut) != 0;
      if (isEnough && isMeant && events != EVENTS_ALL) return;
    }
    at = next;
    if (at == head) return;
  }
}

/** Puts the item into the ready list and wakes one thread of the set. False if none waits there. */
export function readyItem(index: u32, depth: u32): bool {
  const item = EpollItem.at(index);
  markReady(index, false);
  const isAwake = wakeInSet(item.set);
  const outer = EpollSet.at(item.set).outer;
  if (outer != 0 && depth < NESTS_MAX) notifyItems(outer, EPOLLIN, depth + 1);
  return isAwake;
}
