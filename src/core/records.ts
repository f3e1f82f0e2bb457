// What the region has about a socket, by its index.

import {
  SOCKET_BYTES,
  SOCKETS_OFFSET,
  SocketView,
  TCB_BYTES,
  TCBS_OFFSET,
  TcbView,
} from "../../build/gen/layout.ts";

export function socketAt(view: DataView, index: number): SocketView {
  return new SocketView(view, SOCKETS_OFFSET + index * SOCKET_BYTES);
}

export function tcbAt(view: DataView, index: number): TcbView {
  return new TcbView(view, TCBS_OFFSET + index * TCB_BYTES);
}
