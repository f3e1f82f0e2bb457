// Epoll sets: every list against what each item says of itself (stack/epoll/).

import {
  EPOLL_BUCKETS,
  EPOLL_CHAINS_OFFSET,
  EPOLL_ITEM_BYTES,
  EPOLL_ITEMS_OFFSET,
  EPOLL_REFERENCE_BYTES,
  EPOLL_REFERENCES_OFFSET,
  EPOLL_SET_BYTES,
  EPOLL_SETS_OFFSET,
  EpollItemView,
  EpollReferenceView,
  EpollSetView,
  ItemFlag,
  SocketState,
  WAITER_BYTES,
  WAITERS_OFFSET,
  WaiterView,
} from "../../build/gen/layout.ts";
import type { Fail, Inspected } from "./connection-checks.ts";
import { socketAt } from "./records.ts";

/** EPOLLEXCLUSIVE. */
const EXCLUSIVE = 0x10000000;

const itemAt = ({ view }: Inspected, at: number) =>
  new EpollItemView(view, EPOLL_ITEMS_OFFSET + at * EPOLL_ITEM_BYTES);
const setAt = ({ view }: Inspected, at: number) =>
  new EpollSetView(view, EPOLL_SETS_OFFSET + at * EPOLL_SET_BYTES);

/** Follows a list of items, or a ring, to its end. */
function follow(
  region: Inspected,
  head: number,
  next: (item: EpollItemView) => number,
  fail: Fail,
): number[] {
  const all: number[] = [];
  for (let at = head; at !== 0; ) {
    if (all.length > region.header.itemHigh) fail("a list of items does not end");
    all.push(at);
    at = next(itemAt(region, at));
    if (at === head) break;
  }
  return all;
}

const isInner = (item: EpollItemView) => (item.flags & ItemFlag.Inner) !== 0;

/** The items of one target, a socket or an inner set, are its ring. */
function checkTarget(region: Inspected, items: readonly number[], fail: Fail): void {
  const [first = 0] = items;
  const item = itemAt(region, first);
  const { target } = item;
  const isGone = isInner(item)
    ? setAt(region, target).references === 0
    : socketAt(region.view, target).state === SocketState.Free;
  if (isGone) fail(`item ${first} is of target ${target}: gone`);
  const head = isInner(item) ? setAt(region, target).outer : socketAt(region.view, target).items;
  const ring = follow(region, head, (one) => one.targetNext, fail).sort((a, b) => a - b);
  if (`${ring}` !== `${items}`) fail(`target ${target} has the items ${items}, its ring ${ring}`);
}

function checkSet(region: Inspected, at: number, own: readonly number[], fail: Fail): void {
  const set = setAt(region, at);
  const listed = follow(region, set.items, (one) => one.setNext, fail).sort((a, b) => a - b);
  if (`${own}` !== `${listed}`) fail(`set ${at} has the items ${own}, and lists ${listed}`);
  const ready = follow(region, set.readyHead, (one) => one.readyNext, fail);
  if (ready.length !== set.readyCount) {
    fail(`set ${at} lists ${ready.length} as ready, and counts ${set.readyCount}`);
  }
  if (set.readyTail !== (ready.at(-1) ?? 0)) fail(`set ${at}: the last that is ready is another`);
  const flagged = own.filter((one) => (itemAt(region, one).flags & ItemFlag.Ready) !== 0);
  if (`${flagged}` !== `${ready.toSorted((a, b) => a - b)}`) {
    fail(`set ${at}: ${flagged} are ready, and ${ready} are listed`);
  }
  const exclusives = own.filter((one) => (itemAt(region, one).events & EXCLUSIVE) !== 0).length;
  if (exclusives !== set.exclusives) fail(`set ${at}: ${exclusives} items are exclusive`);
  for (let slot = set.waiters, steps = 0; slot !== 0; steps++) {
    const waiter = new WaiterView(region.view, WAITERS_OFFSET + (slot - 1) * WAITER_BYTES);
    if (waiter.set !== at || steps > region.header.waiterHigh) {
      fail(`set ${at} lists waiter ${slot - 1}, which is in set ${waiter.set}`);
    }
    slot = waiter.setNext;
  }
}

function checkReferences(region: Inspected, at: number, fail: Fail): void {
  let next = setAt(region, at).references;
  for (let steps = 0; next !== 0; steps++) {
    const reference = new EpollReferenceView(
      region.view,
      EPOLL_REFERENCES_OFFSET + next * EPOLL_REFERENCE_BYTES,
    );
    if (reference.set !== at || steps > region.header.referenceHigh) {
      fail(`set ${at} is referred to by ${next}, which is of set ${reference.set}`);
    }
    next = reference.next;
  }
}

/** Items with the same key together, in order. */
function grouped<K>(region: Inspected, items: readonly number[], keyOf: (one: EpollItemView) => K) {
  const groups = new Map<K, number[]>();
  for (const at of items) {
    const key = keyOf(itemAt(region, at));
    const group = groups.get(key);
    if (group) group.push(at);
    else groups.set(key, [at]);
  }
  return groups;
}

/** Items are in every list that they belong to, and in no other. */
export function checkEpoll(region: Inspected, fail: Fail): void {
  const { header } = region;
  const items: number[] = [];
  for (let at = 1; at < header.itemHigh; at++) if (itemAt(region, at).set !== 0) items.push(at);
  const bySet = grouped(region, items, (one) => one.set);
  for (const [set, [first]] of bySet) {
    if (setAt(region, set).references === 0) fail(`item ${first} is of set ${set}: gone`);
  }
  const byTarget = grouped(region, items, (one) => (isInner(one) ? -one.target : one.target));
  for (const own of byTarget.values()) checkTarget(region, own, fail);
  for (let at = 1; at < header.setHigh; at++) {
    if (setAt(region, at).references === 0) continue;
    checkSet(region, at, bySet.get(at) ?? [], fail);
    checkReferences(region, at, fail);
  }
  checkTable(region, items, fail);
}

/** Every item is found by its set and number, and free ones are on their list. */
function checkTable(region: Inspected, items: readonly number[], fail: Fail): void {
  const { view, header } = region;
  const found = new Set<number>();
  for (let chain = 0; chain < EPOLL_BUCKETS && items.length > 0; chain++) {
    const head = view.getUint32(EPOLL_CHAINS_OFFSET + chain * 4, true);
    for (const at of follow(region, head, (one) => one.hashNext, fail)) found.add(at);
  }
  for (const at of items) if (!found.delete(at)) fail(`item ${at} is not in the table`);
  if (found.size > 0) fail(`items ${[...found]} are in the table, and free`);
  const free = follow(region, header.freeItemHead, (one) => one.hashNext, fail);
  if (!free.every((at) => itemAt(region, at).set === 0)) fail("an item in use is listed as free");
}
