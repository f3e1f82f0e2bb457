// What items are ready for now: Linux's ep_item_poll.

import { loadAcquire32 } from "../host";
import { Readiness, readinessOf } from "../socket/readiness";
import { Socket, SocketState } from "../socket/socket";
import { Tcb, TcpState } from "../tcp/tcb";
import { PROTOCOL_TCP } from "../wire/tcp";
import { unmarkReady } from "./lists";
import { EpollItem, EpollSet, Half, ItemFlag } from "./set";

/** How deep Linux lets sets nest (EP_MAX_NESTS). */
export const NESTS_MAX: u32 = 4;
const RDNORM: u32 = 0x40;
const WRNORM: u32 = 0x100;
const WRBAND: u32 = 0x200;

/** With all the names that Linux has for them. */
function socketEvents(index: u32): u32 {
  const socket = Socket.at(index);
  let bits = readinessOf(index);
  if (<u32>socket.protocol == PROTOCOL_TCP) {
    // As tcp_poll: who saw that there is no room hears when there is.
    const tcb = Tcb.at(index);
    if ((bits & Readiness.Out) != 0) bits |= WRNORM;
    else if (tcb.state >= <u8>TcpState.Established) tcb.noSpace = 1;
  } else {
    // A pending error alone is no input.
    const count = loadAcquire32(changetype<usize>(socket) + offsetof<Socket>("receiveCount"));
    if (count == 0) bits &= ~Readiness.In;
    if ((bits & Readiness.Out) != 0) bits |= WRNORM | WRBAND;
  }
  if ((bits & Readiness.In) != 0) bits |= RDNORM;
  return bits;
}

/** What is true of the item, of the stack's half; whether or not it is wanted. */
export function itemEvents(index: u32, depth: u32): u32 {
  const item = EpollItem.at(index);
  if (!item.has(ItemFlag.Inner)) return socketEvents(item.target);
  return isSetReady(item.target, depth + 1) ? Readiness.In | RDNORM : 0;
}

/** Whether epoll_wait would find something in the stack's half of the set. */
export function isSetReady(index: u32, depth: u32): bool {
  const set = EpollSet.at(index);
  if (depth > NESTS_MAX) return false;
  for (let left = set.readyCount; left > 0; left--) {
    const head = set.readyHead;
    const item = EpollItem.at(head);
    const events = (itemEvents(head, depth) | item.kernelEvents) & item.events;
    if (events != 0 || isKernelBehind(item)) return true;
    unmarkReady(head);
  }
  return false;
}

/** The socket went back to the kernel, whose epoll instance does not know that it can write. */
export function isKernelBehind(item: EpollItem): bool {
  if (item.half != <u16>Half.WithoutOut || item.has(ItemFlag.Inner)) return false;
  return Socket.at(item.target).state == <u8>SocketState.Kernel;
}
