// The table of connections, by both addresses and ports. Listeners are in udp/demux.ts's table of
// local addresses, which serves every protocol.

import { foldAddress, mix } from "../base/hash";
import { CONNECTION_BUCKETS, MAX_SOCKETS } from "../config";
import { Fault } from "../fault";
import { fault } from "../host";
import { CONNECTIONS_OFFSET } from "../layout";
import { Socket } from "../socket/socket";
import { Tcb } from "./tcb";

function chainOf(localLo: u64, remoteLo: u64, portsNet: u32): usize {
  const h = mix(<u32>(localLo >> 32) ^ (<u32>(remoteLo >> 32) * 0x85ebca6b), portsNet);
  return <usize>(CONNECTIONS_OFFSET + ((h >> 16) << 2));
}

function chainOfSocket(socket: Socket): usize {
  return chainOf(
    socket.localLo ^ <u64>foldAddress(socket.localHi, 0),
    socket.remoteLo ^ <u64>foldAddress(socket.remoteHi, 0),
    socket.portsNet,
  );
}

/** Index of the connection, or 0. `portsNet`: local port in the lower, remote in the upper half. */
export function findConnection(localLo: u64, remoteLo: u64, portsNet: u32): u32 {
  let at = load<u32>(chainOf(localLo, remoteLo, portsNet));
  for (let steps: u32 = 0; at != 0; steps++) {
    if (steps > MAX_SOCKETS) fault(Fault.ChainLoop);
    const socket = Socket.at(at);
    if (
      socket.portsNet == portsNet &&
      socket.remoteLo == remoteLo &&
      socket.localLo == localLo &&
      (socket.localHi | socket.remoteHi) == 0
    ) {
      return at;
    }
    at = Tcb.at(at).chainNext;
  }
  return 0;
}

/** Precondition: the socket's addresses and ports are set, and nothing has the same four. */
export function insertConnection(index: u32): void {
  const chain = chainOfSocket(Socket.at(index));
  Tcb.at(index).chainNext = load<u32>(chain);
  store<u32>(chain, index);
}

export function removeConnection(index: u32): void {
  const gone = Tcb.at(index);
  const chain = chainOfSocket(Socket.at(index));
  let at = load<u32>(chain);
  if (at == index) {
    store<u32>(chain, gone.chainNext);
    return;
  }
  for (let steps: u32 = 0; at != 0; steps++) {
    if (steps > MAX_SOCKETS) fault(Fault.ChainLoop);
    const tcb = Tcb.at(at);
    if (tcb.chainNext == index) {
      tcb.chainNext = gone.chainNext;
      return;
    }
    at = tcb.chainNext;
  }
}

/** Empties every chain, before recovery inserts the connections again. */
export function clearConnections(): void {
  memory.fill(<usize>CONNECTIONS_OFFSET, 0, <usize>(CONNECTION_BUCKETS * 4));
}
