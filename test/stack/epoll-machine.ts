// Epoll sets of a stack in Node, as a program's calls would make them.

import {
  EPOLL_EVENT_BYTES,
  EPOLL_EVENTS_OFFSET,
  EPOLL_ITEM_BYTES,
  EPOLL_ITEMS_OFFSET,
  EPOLL_SET_BYTES,
  EPOLL_SETS_OFFSET,
  EpollEventView,
  EpollItemView,
  EpollSetView,
  Half,
} from "../../build/gen/layout.ts";
import type { Machine } from "./machine.ts";

export const IN = 1;
export const OUT = 4;
export const ERR = 8;
export const ET = 0x80000000;
export const ONESHOT = 0x40000000;
export const EXCLUSIVE = 0x10000000;
/** Bit of epollAdd's `kind`. */
export const INNER = 4;

export function epollOf({ calls, view }: Machine) {
  const item = (at: number) => new EpollItemView(view, EPOLL_ITEMS_OFFSET + at * EPOLL_ITEM_BYTES);
  const set = (at: number) => new EpollSetView(view, EPOLL_SETS_OFFSET + at * EPOLL_SET_BYTES);

  function create(client = 1): number {
    const index = calls.epollCreate(client);
    if (index <= 0) throw new Error(`epollCreate: ${index}`);
    return index;
  }

  /** EPOLL_CTL_ADD: the item, or -errno. Its data is its descriptor. */
  function add(
    to: number,
    fd: number,
    target: number,
    events: number,
    kind: number = Half.None,
  ): number {
    const added = calls.epollAdd(to, fd, target, kind, events, BigInt(fd));
    if (added > 0) calls.epollArm(added, events, BigInt(fd));
    return added;
  }

  const modify = (
    to: number,
    fd: number,
    target: number,
    events: number,
    kind: number = Half.None,
  ) => calls.epollModify(to, fd, target, kind, events, BigInt(fd));

  /** epoll_wait, at once: `data:events` in words, in their order. */
  function wait(of: number, room = 64): string[] {
    const count = calls.epollCollect(of, room);
    return Array.from({ length: count }, (_, i) => {
      const event = new EpollEventView(view, EPOLL_EVENTS_OFFSET + i * EPOLL_EVENT_BYTES);
      return `${event.data}:${event.events}`;
    });
  }

  /** The kernel reports the item, as the shim hands that over. */
  function deliver(to: number, at: number, events: number): number {
    const { generation, fd } = item(at);
    return calls.epollDeliver(to, at, generation & 255, fd, events);
  }

  function wakeups(): number[] {
    const rung: number[] = [];
    for (let slot = calls.nextWakeup(); slot >= 0; slot = calls.nextWakeup()) rung.push(slot);
    return rung;
  }

  /** A new thread that sleeps in the set. */
  function sleeperIn(of: number, client = 1): number {
    const slot = calls.waiterAdd(client);
    calls.waiterArm(slot, 0n, of);
    return slot;
  }

  return { item, set, create, add, modify, wait, deliver, wakeups, sleeperIn };
}
