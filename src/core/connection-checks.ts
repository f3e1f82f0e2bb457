// The invariants of one connection: its control block against its queues.

import {
  DATAGRAM_OVERHEAD_BYTES,
  FRAME_META_BYTES,
  FrameMark,
  FrameState,
  type RegionHeaderView,
  type SocketView,
  TcpFlag,
  type TcbView,
  TcpFrameView,
  TcpState,
} from "../../build/gen/layout.ts";

/** A region whose lock the caller holds, or that nobody else uses. */
export interface Inspected {
  readonly view: DataView;
  readonly header: RegionHeaderView;
  /** When poll() is due. */
  deadline(): bigint;
}

export interface Connection {
  index: number;
  socket: SocketView;
  tcb: TcbView;
}

/** Frames that connections know of, by the state that they should have. */
export interface Held {
  received: number;
  sending: number;
}

/** Reports a breach. */
export type Fail = (message: string) => never;

/** Timers fire up to two ticks of the wheel late (stack/tcp/wheel.ts). */
const LATE_NANOS = 2n << 20n;
/** Each recovery may put off what is overdue by another one. */
const LATE_AFTER_RECOVERY_NANOS = 64n << 20n;
/** Bounds of RFC 6298 as Linux has them, with room for a variance on top. */
const RTO_MAX_NANOS = 120_000_000_000n;

/** The order of sequence numbers. */
export const before = (a: number, b: number) => ((a - b) | 0) < 0;
export const after = (a: number, b: number) => before(b, a);

/** The frames of a chain. */
export function* chain(
  host: Pick<Inspected, "view" | "header">,
  head: number,
  fail: Fail,
): Generator<TcpFrameView> {
  let at = head;
  for (let steps = 0; at !== 0; steps++) {
    if (steps > host.header.frameCount) fail("a queue of frames is a circle");
    const offset = host.header.frameMetaOffset + (at - 1) * FRAME_META_BYTES;
    const frame = new TcpFrameView(host.view, offset);
    yield frame;
    at = frame.next;
  }
}

/** Checks everything; adds the connection's frames to `held`. `now` 0: timers may be late. */
export function checkConnection(
  host: Inspected,
  connection: Connection,
  held: Held,
  now: bigint,
  fail: Fail,
): void {
  const { tcb } = connection;
  const names = Object.entries(TcpState).find(([, value]) => value === tcb.state);
  const inState: Fail = (message) => fail(`${message} (${names?.[0] ?? tcb.state})`);
  checkReceiveQueues(host, connection, held, inState);
  if (tcb.state === TcpState.Closed || tcb.state === TcpState.Listen) {
    if (tcb.sendHead !== 0) inState("something is to be sent");
    return;
  }
  checkSendQueue(host, connection, held, inState);
  checkTimers(host, tcb, now, inState);
  if (tcb.cwnd < 1) inState("cwnd is 0");
  if (tcb.ssthresh < 2) inState(`ssthresh is ${tcb.ssthresh}`);
  if (tcb.rtoNanos > RTO_MAX_NANOS) inState(`the timeout is ${tcb.rtoNanos} ns`);
}

interface Sent {
  frames: number;
  bytes: number;
  packetsOut: number;
  sackedOut: number;
  lostOut: number;
  retransOut: number;
}

/** Recounts the send queue, and checks that it is one stretch of the sequence space. */
function checkSendQueue(host: Inspected, connection: Connection, held: Held, fail: Fail): void {
  const { index, tcb, socket } = connection;
  const sent = { frames: 0, bytes: 0, packetsOut: 0, sackedOut: 0, lostOut: 0, retransOut: 0 };
  let next: number | undefined;
  let isSent = true;
  let link = tcb.sendHead;
  for (const frame of chain(host, tcb.sendHead, fail)) {
    if (link === tcb.sendNext) {
      isSent = false;
      if (frame.seq !== tcb.sndNxt) fail("the next frame to send is not at sndNxt");
    }
    if (next !== undefined && frame.seq !== next) fail("a gap in the send queue");
    if (next === undefined && tcb.state >= TcpState.Established) checkFirst(tcb, frame, fail);
    checkSentFrame(frame, index, isSent, fail);
    if (frame.state === FrameState.Sending) held.sending += 1;
    next = frame.endSeq;
    link = frame.next;
    countFrame(sent, frame, isSent);
  }
  if (isSent && tcb.sendNext !== 0) fail("the next frame to send is not in the queue");
  if ((next ?? tcb.sndUna) !== tcb.writeSeq && tcb.state >= TcpState.Established) {
    fail(`the send queue ends ${(tcb.writeSeq - (next ?? tcb.sndUna)) | 0} before writeSeq`);
  }
  if (tcb.state >= TcpState.Established) checkSequence(tcb, fail);
  checkCounts(tcb, sent, fail);
  const charged = sent.bytes + sent.frames * DATAGRAM_OVERHEAD_BYTES;
  if (socket.sendBytes !== charged) fail(`charged ${socket.sendBytes} to send, not ${charged}`);
}

function checkFirst(tcb: TcbView, frame: TcpFrameView, fail: Fail): void {
  if (after(frame.seq, tcb.sndUna)) fail("the send queue starts behind sndUna");
  if (!after(frame.endSeq, tcb.sndUna)) fail("a frame that is acknowledged is still queued");
}

function checkSentFrame(frame: TcpFrameView, index: number, isSent: boolean, fail: Fail): void {
  const { state, marks } = frame;
  if (state !== FrameState.Sending && state !== FrameState.Transmit) {
    fail(`a frame of the send queue has state ${state}`);
  }
  if ((marks & FrameMark.Kept) === 0) fail("a frame of the send queue is not marked as kept");
  if (frame.socket !== index) fail(`a frame of the send queue is socket ${frame.socket}'s`);
  const fin = (marks & FrameMark.Fin) !== 0 ? 1 : 0;
  const length = (frame.endSeq - frame.seq) >>> 0;
  if (length !== frame.payloadBytes + fin) fail("a frame's length is not that of its payload");
  const history = FrameMark.Sacked | FrameMark.Lost | FrameMark.Retransmitted;
  if (!isSent && (marks & history) !== 0) fail("a frame that was never sent has marks");
  if (isSent && frame.nanos === 0n) fail("nobody knows when a frame was sent");
  if ((marks & FrameMark.Sacked) !== 0 && (marks & FrameMark.Lost) !== 0) {
    fail("a frame is both received and lost");
  }
}

function countFrame(sent: Sent, frame: TcpFrameView, isSent: boolean): void {
  sent.frames += 1;
  sent.bytes += frame.payloadBytes;
  if (!isSent) return;
  sent.packetsOut += 1;
  if ((frame.marks & FrameMark.Sacked) !== 0) sent.sackedOut += 1;
  if ((frame.marks & FrameMark.Lost) !== 0) sent.lostOut += 1;
  if ((frame.marks & FrameMark.Retransmitted) !== 0) sent.retransOut += 1;
}

function checkCounts(tcb: TcbView, sent: Sent, fail: Fail): void {
  const pairs: [string, number, number][] = [
    ["sendFrames", tcb.sendFrames, sent.frames],
    ["sendQueuedBytes", tcb.sendQueuedBytes, sent.bytes],
    ["packetsOut", tcb.packetsOut, sent.packetsOut],
    ["sackedOut", tcb.sackedOut, sent.sackedOut],
    ["lostOut", tcb.lostOut, sent.lostOut],
    ["retransOut", tcb.retransOut, sent.retransOut],
  ];
  for (const [name, is, counted] of pairs) {
    // Without SACK, duplicate acknowledgments stand for segments that nobody knows.
    if (name === "sackedOut" && (tcb.flags & TcpFlag.SackPermitted) === 0) continue;
    if (is !== counted) fail(`${name} is ${is}, the queue says ${counted}`);
  }
  if (tcb.packetsOut + tcb.retransOut < tcb.sackedOut + tcb.lostOut) fail("less than 0 in flight");
}

/** RFC 9293 3.3.1: the order of the variables. */
function checkSequence(tcb: TcbView, fail: Fail): void {
  if (after(tcb.sndUna, tcb.sndNxt)) fail("sndUna is behind sndNxt");
  if (after(tcb.sndNxt, tcb.writeSeq)) fail("sndNxt is behind writeSeq");
  if (tcb.state === TcpState.TimeWait) return;
  if (after(tcb.copiedSeq, tcb.rcvNxt)) fail("copiedSeq is behind rcvNxt");
  if (after(tcb.rcvNxt, tcb.rcvAdv) && (tcb.flags & TcpFlag.PeerClosed) === 0) {
    fail("rcvNxt is behind the window");
  }
}

function checkReceiveQueues(host: Inspected, connection: Connection, held: Held, fail: Fail): void {
  const { index, tcb, socket } = connection;
  let readable = 0;
  for (const frame of chain(host, socket.receiveHead, fail)) {
    held.received += 1;
    readable += frame.payloadBytes;
    if (frame.state !== FrameState.Queued) fail(`a received frame has state ${frame.state}`);
    if (frame.socket !== index) fail(`a received frame is socket ${frame.socket}'s`);
  }
  if (readable < socket.readableBytes) {
    fail(`${socket.readableBytes} readable, ${readable} in the queue`);
  }
  let frames = 0;
  let last = tcb.rcvNxt;
  for (const frame of chain(host, tcb.oooHead, fail)) {
    held.received += 1;
    frames += 1;
    if (frame.state !== FrameState.Queued) fail(`an early frame has state ${frame.state}`);
    if (before(frame.seq, last)) fail("early frames are not sorted, or not early");
    if (frames === 1 && frame.seq === last) fail("an early frame is in sequence");
    last = frame.seq;
  }
  if (frames !== tcb.oooFrames) fail(`${tcb.oooFrames} early frames, ${frames} in the queue`);
}

/** Every deadline is covered by the wheel, none has passed, and what is in flight has one. */
function checkTimers(host: Inspected, tcb: TcbView, now: bigint, fail: Fail): void {
  const deadlines = [tcb.retransmitAt, tcb.delackAt, tcb.lingerAt].filter((at) => at !== 0n);
  const [first = 0n] = deadlines.sort((a, b) => Number(a - b));
  if (deadlines.length > 0) {
    if (tcb.wheelSlot === 0) fail("a timer runs, but the wheel does not know it");
    if (tcb.wheelAt > first) fail("the wheel looks at the timer too late");
    const late = host.header.recoveries > 0n ? LATE_AFTER_RECOVERY_NANOS : LATE_NANOS;
    if (first + late < now) fail(`a timer is ${now - first} ns late`);
    if (host.deadline() > first + late) fail("poll() is due too late for a timer");
  }
  const waits = TcpFlag.RouteWait | TcpFlag.OutputPending;
  const isSynchronised = tcb.state >= TcpState.Established && tcb.state !== TcpState.TimeWait;
  if (
    isSynchronised &&
    tcb.packetsOut > 0 &&
    tcb.retransmitAt === 0n &&
    (tcb.flags & waits) === 0
  ) {
    fail("data is in flight without a timer");
  }
}
