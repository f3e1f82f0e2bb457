// Giving a port back to the kernel before the last of its connections is quite over.

import { RegionHeader } from "../region/header";
import { Socket } from "../socket/socket";
import { isPortResting } from "./port";
import { Segment } from "./segment";
import { finish } from "./state";
import { Tcb, TcpState } from "./tcb";

/**
 * A SYN for a port where all that is left of the stack's are connections in TIME-WAIT: a program
 * that is not accelerated may listen there by now. They end, so that the kernel gets the next SYN.
 */
export function handBack(segment: Segment): bool {
  const portNet = segment.portsNet & 0xffff;
  if (!isPortResting(0, segment.localLo, portNet)) return false;
  const high = RegionHeader.get().socketHigh;
  for (let index: u32 = 1; index < high; index++) {
    const socket = Socket.at(index);
    if (Tcb.at(index).state != <u8>TcpState.TimeWait) continue;
    if (<u32>socket.localPortNet != portNet || socket.localLo != segment.localLo) continue;
    finish(index);
  }
  return true;
}
