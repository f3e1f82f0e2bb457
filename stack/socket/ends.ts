// Whether exasockd hears of the ends of kernel sockets. To tell costs the kernel as much as the end
// itself, and exasockd more than that; a program that opens and closes its sockets by itself needs
// neither. So exasockd stops to listen where nothing that it heard was news (docs/decisions/0023),
// and is told here when it has to listen again.

import { storeRelease32 } from "../host";
import { RegionHeader } from "../region/header";
import { Socket, SocketFlag, SocketState } from "./socket";

/** RegionHeader.ends */
export const enum Ends {
  Heard = 0,
  Unheard = 1,
  /** exasockd is asked to listen. */
  Wanted = 2,
}

function publish(ends: Ends): void {
  storeRelease32(changetype<usize>(RegionHeader.get()) + offsetof<RegionHeader>("ends"), ends);
}

/** exasockd listens. */
export function hearEnds(): void {
  publish(Ends.Heard);
}

/** exasockd wants to stop. False: somebody besides its program may hold a socket. */
export function ignoreEnds(): bool {
  const high = RegionHeader.get().socketHigh;
  for (let index: u32 = 1; index < high; index++) {
    const socket = Socket.at(index);
    // Without a cookie it has no kernel socket.
    if (socket.state == <u8>SocketState.Free || socket.cookie == 0) continue;
    if ((socket.flags & SocketFlag.Shared) != 0) return false;
  }
  publish(Ends.Unheard);
  return true;
}

/** From now on the end of a kernel socket may be news. */
export function wantEnds(): void {
  const header = RegionHeader.get();
  if (header.ends != <u32>Ends.Unheard) return;
  publish(Ends.Wanted);
  header.daemonWanted = 1;
}
