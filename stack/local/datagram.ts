// UDP between two sockets of the region: the payload is copied once, into a frame that goes
// straight to the receiver's queue. No header is built, no checksum summed, no device asked.

import { LOCAL_INTERFACE, RESERVED_FRAMES } from "../config";
import { notifyItems } from "../epoll/notify";
import { isPortShared } from "../link/steering";
import { availableFrames, FrameMeta, FrameState, frameOffset } from "../region/frames";
import { giveKnownFrame, takeFrame } from "../region/frames";
import { RegionHeader } from "../region/header";
import { enqueue } from "../socket/queue";
import { Socket } from "../socket/socket";
import { demuxLocal } from "../udp/demux";
import { EVENTS_OUT } from "../wait/events";
import { PROTOCOL_UDP } from "../wire/ipv4";
import { takeSpare } from "./spare";

/**
 * Prepares a datagram of `sender`'s to an address of this host. Region offset for the payload, or 0
 * if the kernel has to deliver it: to a socket that is not the stack's, or to nobody, which it
 * tells the sender.
 */
export function reserveLocal(
  sender: Socket,
  remoteLo: u64,
  remotePortNet: u32,
  sourceLo: u64,
  lengthBytes: u32,
): u32 {
  const header = RegionHeader.get();
  if (lengthBytes > header.frameBytes || isPortShared(PROTOCOL_UDP, remotePortNet)) return 0;
  const portsNet = remotePortNet | ((<u32>sender.localPortNet) << 16);
  const index = demuxLocal(remoteLo, sourceLo, portsNet, PROTOCOL_UDP);
  if (index == 0) return 0;
  const spare = takeSpare(sender);
  if (spare == 0 && availableFrames() <= RESERVED_FRAMES) return 0;
  const frame = spare != 0 ? spare - 1 : takeFrame();
  const start = frameOffset(frame);
  const meta = FrameMeta.at(frame);
  meta.state = <u8>FrameState.Held;
  meta.arrivalNanos = 0;
  meta.sourceHi = 0;
  meta.sourceLo = sourceLo;
  meta.destinationHi = 0;
  meta.destinationLo = remoteLo;
  meta.socket = index;
  meta.payloadOffset = start;
  meta.payloadBytes = <u16>lengthBytes;
  meta.sourcePortNet = sender.localPortNet;
  meta.interfaceSlot = <u8>LOCAL_INTERFACE;
  meta.ttl = sender.ttl;
  meta.tos = sender.tos;
  sender.sent += 1;
  if (sender.items != 0) notifyItems(sender.items, EVENTS_OUT, 0);
  header.reservedFrame = frame + 1;
  header.reservedStart = 0;
  return start;
}

/** Queues it. As over lo, a receiver without room loses it, and the sender does not notice. */
export function submitLocal(meta: FrameMeta, frame: u32): void {
  const header = RegionHeader.get();
  const index = meta.socket;
  const socket = Socket.at(index);
  if (!socket.hasReceiveRoom) {
    socket.drops += 1;
    header.rxDropQueueFull += 1;
    giveKnownFrame(frame, meta);
    return;
  }
  enqueue(socket, index, meta, frame, <u32>meta.payloadBytes);
  header.localDatagrams += 1;
}
