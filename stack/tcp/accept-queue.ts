// What a listener has waiting: connections that are not complete (its SYN queue, counted only) and
// connections that can be accepted, in order.

import { storeRelease32 } from "../host";
import { Socket } from "../socket/socket";
import { Tcb, TcpFlag, TcpState } from "./tcb";

/** The embryo's listener, or 0 if that is gone. */
export function listenerOf(tcb: Tcb): u32 {
  const listener = tcb.listener;
  if (listener == 0) return 0;
  const isSame = Socket.at(listener).sequence == tcb.listenerSequence;
  return isSame && Tcb.at(listener).state == <u8>TcpState.Listen ? listener : 0;
}

function publishCount(listener: u32, count: u32): void {
  storeRelease32(changetype<usize>(Tcb.at(listener)) + offsetof<Tcb>("acceptCount"), count);
}

/** Appends a complete connection. */
export function acceptQueueAdd(listener: u32, index: u32): void {
  const owner = Tcb.at(listener);
  const tcb = Tcb.at(index);
  tcb.acceptNext = 0;
  tcb.flags |= TcpFlag.InAcceptQueue;
  if (owner.acceptTail != 0) Tcb.at(owner.acceptTail).acceptNext = index;
  else owner.acceptHead = index;
  owner.acceptTail = index;
  publishCount(listener, owner.acceptCount + 1);
}

/** Takes the oldest complete connection off, or returns 0. */
export function acceptQueueTake(listener: u32): u32 {
  const owner = Tcb.at(listener);
  const index = owner.acceptHead;
  if (index == 0) return 0;
  const tcb = Tcb.at(index);
  owner.acceptHead = tcb.acceptNext;
  if (tcb.acceptNext == 0) owner.acceptTail = 0;
  tcb.flags &= ~(TcpFlag.InAcceptQueue | TcpFlag.Embryo);
  publishCount(listener, owner.acceptCount - 1);
  return index;
}

/** The handshake failed. */
export function leaveSynQueue(tcb: Tcb): void {
  const listener = listenerOf(tcb);
  if (listener == 0) return;
  const owner = Tcb.at(listener);
  if (owner.synQueueCount > 0) owner.synQueueCount -= 1;
}
