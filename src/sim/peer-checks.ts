// What must be true of the two ends of a connection together: nobody in the simulated network can
// know this, but the simulator can.

import { FrameMark, TcpFlag, TcpState } from "../../build/gen/layout.ts";
import { after, before, chain, type Connection, type Fail } from "../core/connection-checks.ts";
import type { Node } from "./node.ts";

function keyOf(from: { address: string; port: number }, to: { address: string; port: number }) {
  return `${from.address}:${from.port} ${to.address}:${to.port}`;
}

interface Place {
  node: Node;
  connection: Connection;
}

/** Every connection of these hosts that has been established, by its addresses. */
function allConnections(nodes: Node[]): Map<string, Place> {
  const found = new Map<string, Place>();
  for (const node of nodes) {
    for (const connection of node.checker.connections()) {
      if (connection.tcb.state < TcpState.SynReceived) continue;
      const { index } = connection;
      const { localOf, remoteOf } = node.sockets;
      found.set(keyOf(localOf(index), remoteOf(index)), { node, connection });
    }
  }
  return found;
}

/** Checks each connection against its other end, where that is there. */
export function checkPeers(nodes: Node[], fail: Fail): void {
  const all = allConnections(nodes);
  for (const { node, connection } of all.values()) {
    const { localOf, remoteOf } = node.sockets;
    const { index, tcb } = connection;
    const key = keyOf(remoteOf(index), localOf(index));
    const peer = all.get(key);
    // Another connection of the same name, before or after this one, says nothing about it.
    if (!peer || peer.connection.tcb.irs !== tcb.iss) continue;
    if (tcb.state < TcpState.Established) continue;
    checkPair(connection, node, peer, (message) =>
      fail(`${node.name} socket ${index}: ${message}`),
    );
  }
}

function checkPair({ tcb }: Connection, node: Node, peer: Place, fail: Fail): void {
  const received = receivedEnd(peer.connection);
  if (before(received, tcb.sndUna)) fail("what is acknowledged has not been received");
  if (after(received, tcb.sndNxt)) fail("more has been received than was sent");
  for (const frame of chain(node.host, tcb.sendHead, fail)) {
    if ((frame.marks & FrameMark.Sacked) === 0) continue;
    if (!hasReceived(peer, frame.seq, frame.endSeq, fail)) fail("SACKed data was not received");
  }
}

/**
 * Behind what was received. Where frames are handed over within a host, rcvNxt follows later: see
 * syncReceived() in stack/local/stream.ts.
 */
function receivedEnd({ tcb, socket }: Connection): number {
  const isSynced = tcb.localPeer === 0 || (tcb.flags & TcpFlag.PeerClosed) !== 0;
  return isSynced ? tcb.rcvNxt : (tcb.copiedSeq + socket.readableBytes) >>> 0;
}

/** True if the sequence numbers are received, in sequence or early. */
function hasReceived(
  { node, connection }: Place,
  seq: number,
  endSeq: number,
  fail: Fail,
): boolean {
  const { tcb } = connection;
  let edge = tcb.rcvNxt;
  // A FIN that came early has been taken off the queue when everything else was there.
  if (!after(endSeq, edge) || tcb.state === TcpState.TimeWait) return true;
  edge = seq;
  for (const frame of chain(node.host, tcb.oooHead, fail)) {
    if (after(frame.seq, edge)) break;
    if (after(frame.endSeq, edge)) edge = frame.endSeq;
  }
  return !after(endSeq, edge);
}
