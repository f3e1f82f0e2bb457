// Which socket a datagram is for. Sockets hang in chains by (local address, port); a wildcard
// socket hangs in the chain of the wildcard address. As in Linux, the newest of equals wins,
// connected beats unconnected, and SO_REUSEPORT groups share by flow.

import { foldAddress, mix } from "../base/hash";
import { DEMUX_BUCKETS, LOOPBACK_IFINDEX, MAX_SOCKETS } from "../config";
import { Fault } from "../fault";
import { fault } from "../host";
import { DEMUX_OFFSET } from "../layout";
import { isThisHost } from "../local/address";
import { RegionHeader } from "../region/header";
import { Socket, SocketFlag, SocketState } from "../socket/socket";
import { PROTOCOL_TCP } from "../wire/tcp";

function chainOf(hi: u64, lo: u64, portNet: u32, protocol: u32): usize {
  const h = mix(foldAddress(hi, lo), (portNet << 8) | protocol);
  return <usize>(DEMUX_OFFSET + ((h >> 16) << 2));
}

export function demuxInsert(index: u32): void {
  const socket = Socket.at(index);
  const chain = chainOf(
    socket.localHi,
    socket.localLo,
    <u32>socket.localPortNet,
    <u32>socket.protocol,
  );
  socket.demuxNext = load<u32>(chain);
  store<u32>(chain, index);
}

export function demuxRemove(index: u32): void {
  const gone = Socket.at(index);
  const chain = chainOf(gone.localHi, gone.localLo, <u32>gone.localPortNet, <u32>gone.protocol);
  let at = load<u32>(chain);
  if (at == index) {
    store<u32>(chain, gone.demuxNext);
    gone.demuxNext = 0;
    return;
  }
  for (let steps: u32 = 0; at != 0; steps++) {
    if (steps > MAX_SOCKETS) fault(Fault.ChainLoop);
    const socket = Socket.at(at);
    if (socket.demuxNext == index) {
      socket.demuxNext = gone.demuxNext;
      gone.demuxNext = 0;
      return;
    }
    at = socket.demuxNext;
  }
}

/** True if another socket has the same local address, port and interface: it is still steered. */
export function hasTwin(index: u32): bool {
  const self = Socket.at(index);
  let at = load<u32>(
    chainOf(self.localHi, self.localLo, <u32>self.localPortNet, <u32>self.protocol),
  );
  for (let steps: u32 = 0; at != 0; steps++) {
    if (steps > MAX_SOCKETS) fault(Fault.ChainLoop);
    const socket = Socket.at(at);
    if (
      at != index &&
      socket.localPortNet == self.localPortNet &&
      socket.localLo == self.localLo &&
      socket.localHi == self.localHi &&
      socket.protocol == self.protocol &&
      socket.ifindex == self.ifindex
    ) {
      return true;
    }
    at = socket.demuxNext;
  }
  return false;
}

/** True if a TCP socket listens at just this address, on any interface. */
export function hasListener(hi: u64, lo: u64, portNet: u32): bool {
  let at = load<u32>(chainOf(hi, lo, portNet, PROTOCOL_TCP));
  for (let steps: u32 = 0; at != 0; steps++) {
    if (steps > MAX_SOCKETS) fault(Fault.ChainLoop);
    const socket = Socket.at(at);
    if (isAt(socket, hi, lo, portNet, PROTOCOL_TCP) && socket.ifindex == 0) return true;
    at = socket.demuxNext;
  }
  return false;
}

/**
 * The socket that the IPv4 datagram is for if it is alone in its chain and not bound to an
 * interface, which is the rule; 0 if demuxLookup has to tell. `portsNet` has the local port in its
 * lower, the remote port in its upper half.
 */
export function demuxAlone(localLo: u64, remoteLo: u64, portsNet: u32, protocol: u32): u32 {
  const localPortNet = portsNet & 0xffff;
  const head = load<u32>(chainOf(0, localLo, localPortNet, protocol));
  // Where the chain is empty this is socket 0, which is never in use.
  const socket = Socket.at(head);
  if ((socket.demuxNext | socket.ifindex) != 0) return 0;
  if (socket.localLo != localLo || (socket.localHi | socket.remoteHi) != 0) return 0;
  if (<u32>socket.protocol != protocol) return 0;
  if (socket.state == <u8>SocketState.Connected) {
    return socket.portsNet == portsNet && socket.remoteLo == remoteLo ? head : 0;
  }
  if (socket.state != <u8>SocketState.Bound) return 0;
  return <u32>socket.localPortNet == localPortNet ? head : 0;
}

/**
 * The wildcard socket that the IPv4 datagram is for, if nothing is bound to its address, the socket
 * is alone in its chain, and the address is the one that was last found to be this host's; 0 if
 * demuxLookup has to tell.
 */
export function demuxAnyAlone(localLo: u64, portsNet: u32, protocol: u32): u32 {
  if (RegionHeader.get().lastLocalLo != localLo) return 0;
  const localPortNet = portsNet & 0xffff;
  if (load<u32>(chainOf(0, localLo, localPortNet, protocol)) != 0) return 0;
  const head = load<u32>(chainOf(0, 0, localPortNet, protocol));
  const socket = Socket.at(head);
  if ((socket.demuxNext | socket.ifindex) != 0) return 0;
  if ((socket.localHi | socket.localLo) != 0 || <u32>socket.protocol != protocol) return 0;
  if (socket.state != <u8>SocketState.Bound) return 0;
  return <u32>socket.localPortNet == localPortNet ? head : 0;
}

/**
 * The socket for an IPv4 datagram, or connection, from this host to itself; 0: it is the kernel's.
 * `portsNet` as for demuxAlone; the address is known to be this host's.
 */
export function demuxLocal(localLo: u64, remoteLo: u64, portsNet: u32, protocol: u32): u32 {
  const index = demuxAlone(localLo, remoteLo, portsNet, protocol);
  if (index != 0) return index;
  const localPortNet = portsNet & 0xffff;
  const remotePortNet = portsNet >> 16;
  const ifindex = LOOPBACK_IFINDEX;
  return demuxLookup(0, localLo, localPortNet, 0, remoteLo, remotePortNet, protocol, ifindex);
}

/** The socket for a datagram, or 0. Linux's __udp4_lib_lookup is the model. */
export function demuxLookup(
  localHi: u64,
  localLo: u64,
  localPortNet: u32,
  remoteHi: u64,
  remoteLo: u64,
  remotePortNet: u32,
  protocol: u32,
  ifindex: u32,
): u32 {
  const exact = lookupChain(
    localHi,
    localLo,
    localPortNet,
    remoteHi,
    remoteLo,
    remotePortNet,
    protocol,
    ifindex,
  );
  if (exact != 0) return exact;
  const any = lookupChain(0, 0, localPortNet, remoteHi, remoteLo, remotePortNet, protocol, ifindex);
  // A wildcard socket receives what is for this host, not what is passing through.
  if (any == 0 || !isThisHost(localHi, localLo)) return 0;
  if (localHi == 0) RegionHeader.get().lastLocalLo = localLo;
  return any;
}

/** The best socket of the chain of one local address and port. */
function lookupChain(
  hi: u64,
  lo: u64,
  portNet: u32,
  remoteHi: u64,
  remoteLo: u64,
  remotePortNet: u32,
  protocol: u32,
  ifindex: u32,
): u32 {
  const head = load<u32>(chainOf(hi, lo, portNet, protocol));
  let best: u32 = 0;
  let bestScore: u32 = 0;
  let at = head;
  for (let steps: u32 = 0; at != 0; steps++) {
    if (steps > MAX_SOCKETS) fault(Fault.ChainLoop);
    const socket = Socket.at(at);
    if (isAt(socket, hi, lo, portNet, protocol)) {
      const value = score(socket, remoteHi, remoteLo, remotePortNet, ifindex);
      if (value > bestScore) {
        best = at;
        bestScore = value;
      }
    }
    at = socket.demuxNext;
  }
  if (best == 0) return 0;
  const chosen = Socket.at(best);
  if ((chosen.flags & SocketFlag.ReusePort) == 0 || chosen.state != <u8>SocketState.Bound) {
    return best;
  }
  const flow = mix(foldAddress(remoteHi, remoteLo), remotePortNet ^ (portNet << 16));
  return selectReusePort(head, best, flow);
}

function isAt(socket: Socket, hi: u64, lo: u64, portNet: u32, protocol: u32): bool {
  return (
    socket.localLo == lo &&
    socket.localHi == hi &&
    <u32>socket.localPortNet == portNet &&
    <u32>socket.protocol == protocol
  );
}

/** 0 if the socket does not take datagrams from there; more for the more specific. */
function score(
  socket: Socket,
  remoteHi: u64,
  remoteLo: u64,
  remotePortNet: u32,
  ifindex: u32,
): u32 {
  let value: u32 = 1;
  if (socket.state == <u8>SocketState.Connected) {
    if (
      socket.remoteLo != remoteLo ||
      socket.remoteHi != remoteHi ||
      <u32>socket.remotePortNet != remotePortNet
    ) {
      return 0;
    }
    value += 8;
  } else if (socket.state != <u8>SocketState.Bound) {
    return 0;
  }
  if (socket.ifindex != 0) {
    if (socket.ifindex != ifindex) return 0;
    value += 4;
  }
  return value;
}

/** One of the unconnected SO_REUSEPORT sockets that share `best`'s address, by the flow's hash. */
function selectReusePort(head: u32, best: u32, flow: u32): u32 {
  const model = Socket.at(best);
  let count: u32 = 0;
  for (let at = head; at != 0; at = Socket.at(at).demuxNext) {
    if (isPeerInGroup(Socket.at(at), model)) count += 1;
  }
  if (count < 2) return best;
  // reciprocal_scale: maps the hash onto 0..count-1 without a division.
  let pick = <u32>((<u64>flow * <u64>count) >> 32);
  for (let at = head; at != 0; at = Socket.at(at).demuxNext) {
    if (!isPeerInGroup(Socket.at(at), model)) continue;
    if (pick == 0) return at;
    pick -= 1;
  }
  return best;
}

function isPeerInGroup(socket: Socket, model: Socket): bool {
  return (
    socket.localPortNet == model.localPortNet &&
    socket.localLo == model.localLo &&
    socket.localHi == model.localHi &&
    socket.protocol == model.protocol &&
    socket.ifindex == model.ifindex &&
    socket.state == <u8>SocketState.Bound &&
    (socket.flags & SocketFlag.ReusePort) != 0
  );
}

/** Empties every chain, before recovery inserts the sockets again. */
export function demuxClear(): void {
  memory.fill(<usize>DEMUX_OFFSET, 0, <usize>(DEMUX_BUCKETS * 4));
}
