// Options of a TCP socket: tcp(7), socket(7). The kernel socket was asked first, so that values are
// valid; what they mean for a connection happens here.

import { followLimit } from "../local/stream";
import { Socket } from "../socket/socket";
import { notifySocket } from "../wait/waiter";
import { setCongestionControl } from "./congestion";
import { startKeepalive } from "./handshake";
import { addPending } from "./pending";
import { quickAck } from "./receive";
import { updateMss } from "./route";
import { CongestionControl, PING_PONG, Tcb, TcpFlag, TcpState } from "./tcb";
import { bufferBytesMax } from "./window";
import { EVENTS_IN, EVENTS_OUT } from "../wait/events";

const EINVAL: i32 = 22;
const QUICK_ACKS: u32 = 16;
/** Linux's SOCK_MIN_RCVBUF / 2. */
const MIN_WINDOW_CLAMP: u32 = 1152;

/** Options for tcpSetOption. */
export const enum TcpOption {
  /** 0 or 1, as the next three. */
  NoDelay = 0,
  Cork = 1,
  OobInline = 2,
  KeepAlive = 3,
  QuickAck = 4,
  /** Seconds, as the next. */
  KeepIdle = 5,
  KeepInterval = 6,
  KeepCount = 7,
  /** Milliseconds. */
  UserTimeout = 8,
  MaxSegment = 9,
  /** Seconds. */
  DeferAccept = 10,
  SynCount = 11,
  /** Seconds; negative: none. */
  Linger2 = 12,
  /** Seconds of SO_LINGER; -1 off. */
  Linger = 13,
  ReceiveLowat = 14,
  /** A CongestionControl. */
  Congestion = 15,
  WindowClamp = 16,
  NotSentLowat = 17,
  /** Bytes, as getsockopt(2) reports them. */
  ReceiveBuffer = 18,
  SendBuffer = 19,
}

function setFlag(tcb: Tcb, flag: TcpFlag, value: i32): void {
  if (value != 0) tcb.flags |= flag;
  else tcb.flags &= ~flag;
}

/** 0, or -EINVAL for an option that is not known. */
export function setTcpOption(index: u32, option: u32, value: i32, now: u64): i32 {
  const tcb = Tcb.at(index);
  switch (option) {
    case TcpOption.NoDelay:
      setFlag(tcb, TcpFlag.NoDelay, value);
      // tcp(7): what was held back goes now.
      if (value != 0) push(index, tcb);
      return 0;
    case TcpOption.Cork:
      setFlag(tcb, TcpFlag.Cork, value);
      if (value == 0) push(index, tcb);
      return 0;
    case TcpOption.OobInline:
      setFlag(tcb, TcpFlag.OobInline, value);
      return 0;
    case TcpOption.KeepAlive:
      setFlag(tcb, TcpFlag.KeepAlive, value);
      restartKeepalive(index, tcb, now);
      return 0;
    case TcpOption.QuickAck:
      setQuickAck(index, tcb, value);
      return 0;
    default:
      return setNumber(index, tcb, option, value, now);
  }
}

function push(index: u32, tcb: Tcb): void {
  if (tcb.sendNext != 0) addPending(index);
}

function restartKeepalive(index: u32, tcb: Tcb, now: u64): void {
  const state = <u32>tcb.state;
  if (state < <u32>TcpState.Established || state == TcpState.TimeWait) return;
  if (tcb.has(TcpFlag.Orphan)) return;
  tcb.lingerAt = 0;
  startKeepalive(index, tcb, now);
}

/** tcp(7) TCP_QUICKACK: not for good; the connection may fall back into delaying. */
function setQuickAck(index: u32, tcb: Tcb, value: i32): void {
  if (value == 0) {
    tcb.pingPong = PING_PONG;
    return;
  }
  tcb.pingPong = 0;
  quickAck(tcb, QUICK_ACKS);
  if (tcb.delackAt == 0) return;
  tcb.flags |= TcpFlag.AckNow;
  addPending(index);
}

function setNumber(index: u32, tcb: Tcb, option: u32, value: i32, now: u64): i32 {
  const number = <u32>value;
  switch (option) {
    case TcpOption.KeepIdle:
      tcb.keepIdleSeconds = number;
      restartKeepalive(index, tcb, now);
      return 0;
    case TcpOption.KeepInterval:
      tcb.keepIntervalSeconds = number;
      return 0;
    case TcpOption.KeepCount:
      tcb.keepCount = number;
      return 0;
    case TcpOption.UserTimeout:
      tcb.userTimeoutMillis = number;
      return 0;
    case TcpOption.MaxSegment:
      tcb.userMss = number;
      if (tcb.state >= <u8>TcpState.Established) updateMss(tcb, tcb.pathMtu);
      return 0;
    case TcpOption.DeferAccept:
      tcb.deferAcceptSeconds = number;
      return 0;
    case TcpOption.SynCount:
      tcb.synCount = number;
      return 0;
    case TcpOption.Linger2:
      tcb.linger2Seconds = value;
      return 0;
    case TcpOption.Linger:
      tcb.lingerSeconds = value;
      return 0;
    case TcpOption.ReceiveLowat:
      tcb.receiveLowat = max<u32>(number, 1);
      // What is there may be enough now; below, there may be room now.
      notifySocket(index, EVENTS_IN);
      return 0;
    default:
      return setBuffer(index, tcb, option, number);
  }
}

function setBuffer(index: u32, tcb: Tcb, option: u32, number: u32): i32 {
  const socket = Socket.at(index);
  switch (option) {
    case TcpOption.Congestion:
      setCongestionControl(tcb, number == 0 ? CongestionControl.Cubic : CongestionControl.Reno);
      return 0;
    case TcpOption.WindowClamp:
      // The kernel socket, which is not connected, takes 0; on a connection Linux does not.
      if (number == 0 && tcb.state != <u8>TcpState.Closed) return -EINVAL;
      tcb.windowClamp = number == 0 ? 0 : max<u32>(number, MIN_WINDOW_CLAMP);
      return 0;
    case TcpOption.NotSentLowat:
      tcb.notSentLowat = number == 0 ? 0xffffffff : number;
      notifySocket(index, EVENTS_OUT);
      return 0;
    case TcpOption.ReceiveBuffer:
      socket.receiveBufferBytes = number;
      tcb.rcvBuf = bufferBytesMax(number);
      tcb.flags |= TcpFlag.ReceiveBufferLocked;
      followLimit(index, tcb);
      return 0;
    case TcpOption.SendBuffer:
      socket.sendBufferBytes = bufferBytesMax(number);
      tcb.flags |= TcpFlag.SendBufferLocked;
      notifySocket(index, EVENTS_OUT);
      return 0;
    default:
      return -EINVAL;
  }
}
