// The queue of what was received in sequence, from the side that reads.

import { keepSpare } from "../local/spare";
import { DATAGRAM_OVERHEAD_BYTES } from "../config";
import { storeRelease32 } from "../host";
import { FrameState, giveFrame } from "../region/frames";
import { Socket } from "../socket/socket";
import { TcpFrame } from "./frame";
import { Tcb } from "./tcb";

/** The program has so many more bytes. */
function advance(socket: Socket, tcb: Tcb, taken: u32): u32 {
  tcb.copiedSeq += taken;
  const at = changetype<usize>(socket) + offsetof<Socket>("readableBytes");
  storeRelease32(at, socket.readableBytes - taken);
  return taken;
}

/**
 * Takes whole frames with up to `bytes` off the queue and lends them to a client, chained as they
 * were; how many bytes they have.
 */
export function detachBytes(socket: Socket, tcb: Tcb, bytes: u32, client: u32): u32 {
  let taken: u32 = 0;
  let link = socket.receiveHead;
  let last: u32 = 0;
  while (link != 0) {
    const frame = TcpFrame.of(link);
    const here = <u32>frame.payloadBytes;
    if (here > bytes - taken) break;
    taken += here;
    frame.state = <u8>FrameState.Lent;
    frame.socket = client;
    socket.receiveCount -= 1;
    socket.receiveBytes -= min<u32>(here + DATAGRAM_OVERHEAD_BYTES, socket.receiveBytes);
    last = link;
    link = frame.next;
  }
  if (last == 0) return 0;
  TcpFrame.of(last).next = 0;
  socket.receiveHead = link;
  if (link == 0) socket.receiveTail = 0;
  return advance(socket, tcb, taken);
}

/** Takes up to `bytes` off the queue of what is in sequence; how many it took. */
export function takeBytes(socket: Socket, tcb: Tcb, bytes: u32): u32 {
  let left = bytes;
  while (left > 0 && socket.receiveHead != 0) {
    const link = socket.receiveHead;
    const frame = TcpFrame.of(link);
    const here = <u32>frame.payloadBytes;
    if (left < here) {
      frame.cutFront(left);
      socket.receiveBytes -= min<u32>(left, socket.receiveBytes);
      left = 0;
      break;
    }
    socket.receiveHead = frame.next;
    if (frame.next == 0) socket.receiveTail = 0;
    socket.receiveCount -= 1;
    socket.receiveBytes -= min<u32>(here + DATAGRAM_OVERHEAD_BYTES, socket.receiveBytes);
    if (tcb.localPeer != 0) keepSpare(socket, link - 1);
    else giveFrame(link - 1);
    left -= here;
  }
  return advance(socket, tcb, bytes - left);
}
