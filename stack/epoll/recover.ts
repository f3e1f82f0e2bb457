// After a death that held the lock: tables and lists anew from what each item says of itself. All
// count as ready, since to look at one that is not does no harm.

import { RegionHeader } from "../region/header";
import { Socket } from "../socket/socket";
import { clearItemTable, freeItem, isItemWhole, linkItem, markReady } from "./lists";
import { rebuildReferences } from "./references";
import { EpollItem, EpollSet, ItemFlag } from "./set";

/** Precondition: the sockets are rebuilt. Runs before the waiters' part. */
export function rebuildEpoll(): void {
  const header = RegionHeader.get();
  rebuildReferences();
  clearItemTable();
  for (let index: u32 = 1; index < header.socketHigh; index++) Socket.at(index).items = 0;
  for (let index: u32 = 1; index < header.setHigh; index++) {
    const set = EpollSet.at(index);
    set.readyHead = 0;
    set.readyTail = 0;
    set.readyCount = 0;
    set.items = 0;
    set.outer = 0;
    set.waiters = 0;
    set.exclusives = 0;
  }
  header.freeItemHead = 0;
  for (let index: u32 = 1; index < header.itemHigh; index++) {
    if (EpollItem.at(index).set == 0 || !isItemWhole(index)) {
      freeItem(index);
      continue;
    }
    EpollItem.at(index).flags &= <u16>ItemFlag.Inner;
    linkItem(index);
    markReady(index, false);
  }
}
