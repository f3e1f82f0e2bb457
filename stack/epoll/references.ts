// Who refers to a set: every process that has a descriptor of it, once. A process is a client of
// the region, or the child of one by fork(2) that has not joined yet: the parent takes references
// for it in advance and gives them a ticket, on which the child writes its process id.

import { MAX_CLIENTS, MAX_EPOLL_REFERENCES, MAX_FORK_TICKETS } from "../config";
import { EPOLL_REFERENCE_BYTES, EPOLL_REFERENCES_OFFSET } from "../layout";
import { FORK_TICKET_BYTES, FORK_TICKETS_OFFSET } from "../layout";
import { RegionHeader } from "../region/header";
import { claimSet, destroySet } from "./calls";
import { EpollSet, isSet } from "./set";

/** Looks at a ticket without a process id before it is given up. */
const TICKET_LOOKS: u32 = 60;

@final
@unmanaged
export class EpollReference {
  /** 0 marks a free slot. */
  set: u32;
  /** A client's slot, or MAX_CLIENTS + a ticket's. */
  owner: u32;
  /** Of the same set, or of free ones; 0 ends. */
  next: u32;

  static at(index: u32): EpollReference {
    return changetype<EpollReference>(
      <usize>(EPOLL_REFERENCES_OFFSET + index * EPOLL_REFERENCE_BYTES),
    );
  }
}

@final
@unmanaged
export class ForkTicket {
  /** Of the child, in the namespace of its parent; written by the child without the lock. */
  pid: u32;
  /** How often it was looked at without one; 0 marks a free slot. */
  looks: u32;

  static at(index: u32): ForkTicket {
    return changetype<ForkTicket>(<usize>(FORK_TICKETS_OFFSET + index * FORK_TICKET_BYTES));
  }
}

/** False when MAX_EPOLL_REFERENCES are in use. */
function refer(set: u32, owner: u32): bool {
  const header = RegionHeader.get();
  let index = header.freeReferenceHead;
  if (index != 0) {
    header.freeReferenceHead = EpollReference.at(index).next;
  } else {
    index = max<u32>(header.referenceHigh, 1);
    if (index >= MAX_EPOLL_REFERENCES) return false;
    header.referenceHigh = index + 1;
  }
  const reference = EpollReference.at(index);
  reference.owner = owner;
  reference.next = EpollSet.at(set).references;
  reference.set = set;
  EpollSet.at(set).references = index;
  return true;
}

/** The client got a descriptor of the set from another one. */
export function shareSet(set: u32, client: u32): void {
  if (isSet(set)) refer(set, client);
}

/** Index of a new set that this client refers to, or 0. */
export function createSet(client: u32): u32 {
  const set = claimSet();
  if (set == 0 || refer(set, client)) return set;
  destroySet(set);
  return 0;
}

/** An owner lets go of a set; with the last one it ends. */
export function unrefer(set: u32, owner: u32): void {
  if (!isSet(set)) return;
  const header = RegionHeader.get();
  let before: u32 = 0;
  let at = EpollSet.at(set).references;
  for (let steps: u32 = 0; at != 0 && steps < MAX_EPOLL_REFERENCES; steps++) {
    const reference = EpollReference.at(at);
    const next = reference.next;
    if (reference.owner != owner) {
      before = at;
      at = next;
      continue;
    }
    const isLast = before == 0 && next == 0;
    if (before != 0) EpollReference.at(before).next = next;
    else if (!isLast) EpollSet.at(set).references = next;
    reference.set = 0;
    reference.next = header.freeReferenceHead;
    header.freeReferenceHead = at;
    if (isLast) destroySet(set);
    return;
  }
}

/** Everything that an owner who is gone referred to. */
export function dropReferences(owner: u32): void {
  const high = RegionHeader.get().referenceHigh;
  for (let at: u32 = 1; at < high; at++) {
    const reference = EpollReference.at(at);
    if (reference.set != 0 && reference.owner == owner) unrefer(reference.set, owner);
  }
}

/** The client is about to fork: the ticket for its child, or 0 if there is nothing to inherit. */
export function reserveFork(client: u32): u32 {
  let ticket: u32 = 1;
  while (ticket < MAX_FORK_TICKETS && ForkTicket.at(ticket).looks != 0) ticket++;
  if (ticket == MAX_FORK_TICKETS) return 0;
  const high = RegionHeader.get().referenceHigh;
  const owner = MAX_CLIENTS + ticket;
  let isUsed = false;
  for (let at: u32 = 1; at < high; at++) {
    const reference = EpollReference.at(at);
    if (reference.set == 0 || reference.owner != client) continue;
    if (!isUsed) {
      ForkTicket.at(ticket).pid = 0;
      ForkTicket.at(ticket).looks = 1;
      isUsed = true;
    }
    refer(reference.set, owner);
  }
  return isUsed ? ticket : 0;
}

/** The child has joined: what was taken for it is its own. */
export function claimFork(ticket: u32, client: u32): void {
  if (ticket == 0 || ticket >= MAX_FORK_TICKETS) return;
  const high = RegionHeader.get().referenceHigh;
  for (let at: u32 = 1; at < high; at++) {
    const reference = EpollReference.at(at);
    if (reference.owner == MAX_CLIENTS + ticket && reference.set != 0) reference.owner = client;
  }
  ForkTicket.at(ticket).looks = 0;
}

/** The child ended without joining, or never was. */
export function dropFork(ticket: u32): void {
  if (ticket == 0 || ticket >= MAX_FORK_TICKETS) return;
  dropReferences(MAX_CLIENTS + ticket);
  ForkTicket.at(ticket).looks = 0;
}

/**
 * The next ticket behind `from` that is in use, or 0. Those whose child has not written its process
 * id for some looks are given up here.
 */
export function nextFork(from: u32): u32 {
  for (let ticket = from + 1; ticket < MAX_FORK_TICKETS; ticket++) {
    const one = ForkTicket.at(ticket);
    if (one.looks == 0) continue;
    if (one.pid != 0) return ticket;
    one.looks += 1;
    if (one.looks > TICKET_LOOKS) dropFork(ticket);
  }
  return 0;
}

/** After a crash: every set's list anew; what nobody refers to ends. */
export function rebuildReferences(): void {
  const header = RegionHeader.get();
  header.freeReferenceHead = 0;
  header.freeSetHead = 0;
  for (let set: u32 = 1; set < header.setHigh; set++) EpollSet.at(set).references = 0;
  for (let at: u32 = 1; at < header.referenceHigh; at++) {
    const reference = EpollReference.at(at);
    const set = reference.set;
    if (set != 0 && set < header.setHigh) {
      reference.next = EpollSet.at(set).references;
      EpollSet.at(set).references = at;
      continue;
    }
    reference.set = 0;
    reference.next = header.freeReferenceHead;
    header.freeReferenceHead = at;
  }
  for (let set: u32 = 1; set < header.setHigh; set++) {
    if (EpollSet.at(set).references != 0) continue;
    EpollSet.at(set).nextFree = header.freeSetHead;
    header.freeSetHead = set;
  }
}

export function checkReferenceLayout(): void {
  if (offsetof<EpollReference>() > EPOLL_REFERENCE_BYTES) ERROR("EpollReference is too large");
  if (offsetof<ForkTicket>() > FORK_TICKET_BYTES) ERROR("ForkTicket is too large");
}
