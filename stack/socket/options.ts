import { storeRelease32 } from "../host";
import { RegionHeader } from "../region/header";
import { wantEnds } from "./ends";
import { Socket, SocketFlag, SocketOption } from "./socket";

const TIMESTAMP_FLAGS: u32 = SocketFlag.Timestamp | SocketFlag.TimestampNanos;
const EINVAL: i32 = 22;

/** Mirrors an option that the kernel socket has accepted. 0, or -EINVAL for an unknown one. */
export function setSocketOption(index: u32, option: u32, value: u32): i32 {
  const socket = Socket.at(index);
  if (option <= <u32>SocketOption.Shared) {
    const bit: u32 = (<u32>1) << option;
    const flags = value != 0 ? socket.flags | bit : socket.flags & ~bit;
    storeRelease32(changetype<usize>(socket) + offsetof<Socket>("flags"), flags);
    if (option == <u32>SocketOption.Shared && value != 0) wantEnds();
    if ((flags & TIMESTAMP_FLAGS) != 0) RegionHeader.get().timestampsWanted = 1;
    return 0;
  }
  switch (option) {
    case SocketOption.Ttl:
      if (value == 0 || value > 255) return -EINVAL;
      socket.ttl = <u8>value;
      return 0;
    case SocketOption.Tos:
      socket.tos = <u8>value;
      return 0;
    case SocketOption.ReceiveBuffer:
      socket.receiveBufferBytes = value;
      return 0;
    case SocketOption.SendBuffer:
      socket.sendBufferBytes = value;
      return 0;
    default:
      return -EINVAL;
  }
}
