// Connections that have something to send: a list that each poll() ends by working off. What
// arrives in one batch is so answered once.

import { RegionHeader } from "../region/header";
import { Tcb, TcpFlag } from "./tcb";

/** Puts the connection in the list, once. */
export function addPending(index: u32): void {
  const tcb = Tcb.at(index);
  if (tcb.has(TcpFlag.OutputPending)) return;
  const header = RegionHeader.get();
  tcb.flags |= TcpFlag.OutputPending;
  tcb.outputNext = 0;
  if (header.pendingTail != 0) Tcb.at(header.pendingTail).outputNext = index;
  else header.pendingHead = index;
  header.pendingTail = index;
}

/** Takes the first connection off, or returns 0. */
export function nextPending(): u32 {
  const header = RegionHeader.get();
  const index = header.pendingHead;
  if (index == 0) return 0;
  const tcb = Tcb.at(index);
  header.pendingHead = tcb.outputNext;
  if (tcb.outputNext == 0) header.pendingTail = 0;
  tcb.flags &= ~TcpFlag.OutputPending;
  return index;
}

export function removePending(index: u32): void {
  const tcb = Tcb.at(index);
  if (!tcb.has(TcpFlag.OutputPending)) return;
  const header = RegionHeader.get();
  tcb.flags &= ~TcpFlag.OutputPending;
  let before: u32 = 0;
  let at = header.pendingHead;
  while (at != 0 && at != index) {
    before = at;
    at = Tcb.at(at).outputNext;
  }
  if (at == 0) return;
  if (before == 0) header.pendingHead = tcb.outputNext;
  else Tcb.at(before).outputNext = tcb.outputNext;
  if (header.pendingTail == index) header.pendingTail = before;
}
