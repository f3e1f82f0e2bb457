// The queue of what was received in sequence, from the side that reads.

import { DATAGRAM_OVERHEAD_BYTES } from "../config";
import { storeRelease32 } from "../host";
import { giveFrame } from "../region/frames";
import { Socket } from "../socket/socket";
import { TcpFrame } from "./frame";
import { Tcb } from "./tcb";

/** Takes up to `bytes` off the queue of what is in sequence; how many it took. */
export function takeBytes(socket: Socket, tcb: Tcb, bytes: u32): u32 {
  let left = bytes;
  while (left > 0 && socket.receiveHead != 0) {
    const link = socket.receiveHead;
    const frame = TcpFrame.of(link);
    const here = <u32>frame.payloadBytes;
    if (left < here) {
      frame.payloadOffset += left;
      frame.payloadBytes = <u16>(here - left);
      frame.seq += left;
      socket.receiveBytes -= min<u32>(left, socket.receiveBytes);
      left = 0;
      break;
    }
    socket.receiveHead = frame.next;
    if (frame.next == 0) socket.receiveTail = 0;
    socket.receiveCount -= 1;
    socket.receiveBytes -= min<u32>(here + DATAGRAM_OVERHEAD_BYTES, socket.receiveBytes);
    giveFrame(link - 1);
    left -= here;
  }
  const taken = bytes - left;
  tcb.copiedSeq += taken;
  const at = changetype<usize>(tcb) + offsetof<Tcb>("readableBytes");
  storeRelease32(at, tcb.readableBytes - taken);
  return taken;
}
