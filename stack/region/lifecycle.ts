// Footprint, format and join of the region. exasockd formats once; everybody else only checks.

import { MAX_FRAME_BYTES, MIN_FRAME_BYTES } from "../config";
import { TCP_RECEIVE_BUFFER_BYTES, TCP_RECEIVE_BUFFER_BYTES_MAX } from "../config";
import { TCP_SEND_BUFFER_BYTES, TCP_SEND_BUFFER_BYTES_MAX } from "../config";
import { storeRelease32 } from "../host";
import {
  DESTINATIONS_OFFSET,
  FRAME_META_BYTES,
  FRAME_TABLES_OFFSET,
  INTERFACES_OFFSET,
  PAGE_BYTES,
  QUEUES_OFFSET,
  SOCKETS_OFFSET,
  TCBS_OFFSET,
} from "../layout";
import { Waiter, WaiterState } from "../wait/waiter";
import { REGION_MAGIC, RegionHeader } from "./header";

const EINVAL: i32 = 22;
const ENOENT: i32 = 2;
const EPROTO: i32 = 71;

function alignPage(bytes: u64): u64 {
  return (bytes + <u64>(PAGE_BYTES - 1)) & ~(<u64>(PAGE_BYTES - 1));
}

function metaStart(frameCount: u32): u64 {
  return alignPage(<u64>FRAME_TABLES_OFFSET + <u64>frameCount * 4);
}

function poolStart(frameCount: u32): u64 {
  return alignPage(metaStart(frameCount) + <u64>frameCount * <u64>FRAME_META_BYTES);
}

/** Bytes that a region with this pool needs. */
export function footprint(frameBytes: u32, frameCount: u32): u64 {
  return poolStart(frameCount) + <u64>frameCount * <u64>frameBytes;
}

/** Makes all-zero memory a region: 0, or -EINVAL for sizes that can't be. */
export function formatRegion(
  regionBytes: u64,
  frameBytes: u32,
  frameCount: u32,
  buildHash: u64,
): i32 {
  if (frameBytes != MIN_FRAME_BYTES && frameBytes != MAX_FRAME_BYTES) return -EINVAL;
  if (frameCount == 0 || footprint(frameBytes, frameCount) > regionBytes) return -EINVAL;
  // The last byte must have a 32-bit offset.
  if (regionBytes > 0x100000000) return -EINVAL;
  const header = RegionHeader.get();
  header.buildHash = buildHash;
  header.regionBytes = regionBytes;
  header.frameBytes = frameBytes;
  header.frameShift = frameBytes == MIN_FRAME_BYTES ? 11 : 12;
  header.frameCount = frameCount;
  header.freeListOffset = FRAME_TABLES_OFFSET;
  header.frameMetaOffset = <u32>metaStart(frameCount);
  header.framePoolOffset = <u32>poolStart(frameCount);
  header.socketsOffset = SOCKETS_OFFSET;
  header.destinationsOffset = DESTINATIONS_OFFSET;
  header.queuesOffset = QUEUES_OFFSET;
  header.interfacesOffset = INTERFACES_OFFSET;
  header.tcbsOffset = TCBS_OFFSET;
  header.nextTimerNanos = 0xffffffffffffffff;
  header.ecnMode = 2;
  header.tcpReceiveBufferBytes = TCP_RECEIVE_BUFFER_BYTES;
  header.tcpReceiveBufferBytesMax = TCP_RECEIVE_BUFFER_BYTES_MAX;
  header.tcpSendBufferBytes = TCP_SEND_BUFFER_BYTES;
  header.tcpSendBufferBytesMax = TCP_SEND_BUFFER_BYTES_MAX;
  header.socketHigh = 1;
  header.waiterHigh = 1;
  // exasockd's doorbell is always there.
  Waiter.at(0).state = WaiterState.Awake;
  const at = changetype<usize>(header);
  storeRelease32(at + 4, <u32>(REGION_MAGIC >> 32));
  storeRelease32(at, <u32>REGION_MAGIC);
  return 0;
}

/** 0 if this is a region of the same build; -ENOENT if it is none, -EPROTO if of another. */
export function joinRegion(buildHash: u64): i32 {
  const header = RegionHeader.get();
  if (header.magic != REGION_MAGIC) return -ENOENT;
  return header.buildHash == buildHash ? 0 : -EPROTO;
}
