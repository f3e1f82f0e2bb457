// setsockopt, getsockopt, ioctl and fcntl of packet scripts.

import { SocketOption, TcpOption } from "../../build/gen/layout.ts";
import type { Argument } from "./events.ts";
import { type Descriptor, failure, type Outcome, outcomeOf, type Program } from "./descriptors.ts";
import { SYMBOLS } from "./symbols.ts";

/** socket(7): the kernel doubles these, and keeps at least so much. */
const RECEIVE_BUFFER_MIN = 2304;
const SEND_BUFFER_MIN = 4608;

/** TcpOption for each name that a script may set. */
const OPTIONS: Readonly<Record<string, number>> = {
  SO_KEEPALIVE: TcpOption.KeepAlive,
  SO_OOBINLINE: TcpOption.OobInline,
  SO_RCVLOWAT: TcpOption.ReceiveLowat,
  SO_RCVBUF: TcpOption.ReceiveBuffer,
  SO_SNDBUF: TcpOption.SendBuffer,
  TCP_NODELAY: TcpOption.NoDelay,
  TCP_MAXSEG: TcpOption.MaxSegment,
  TCP_CORK: TcpOption.Cork,
  TCP_KEEPIDLE: TcpOption.KeepIdle,
  TCP_KEEPINTVL: TcpOption.KeepInterval,
  TCP_KEEPCNT: TcpOption.KeepCount,
  TCP_SYNCNT: TcpOption.SynCount,
  TCP_LINGER2: TcpOption.Linger2,
  TCP_DEFER_ACCEPT: TcpOption.DeferAccept,
  TCP_WINDOW_CLAMP: TcpOption.WindowClamp,
  TCP_QUICKACK: TcpOption.QuickAck,
  TCP_USER_TIMEOUT: TcpOption.UserTimeout,
  TCP_NOTSENT_LOWAT: TcpOption.NotSentLowat,
};

function numberIn(argument: Argument | undefined, field = "0"): number {
  if (argument?.kind === "number") return argument.value;
  if (argument?.kind === "list") return numberIn(argument.items[0]);
  if (argument?.kind === "struct") return numberIn(argument.fields.get(field));
  return 0;
}

const textOf = (argument: Argument | undefined): string =>
  argument?.kind === "number" ? argument.text : "";

/** `setsockopt(3, SOL_TCP, TCP_NODELAY, [1], 4)`. SO_REUSEADDR is the kernel's business. */
export function setOption(
  { machine }: Program,
  { index }: Descriptor,
  [, , name, value]: Argument[],
): Outcome {
  const option = textOf(name);
  const set = (which: number, number: number) =>
    outcomeOf(machine.host.calls.tcpSetOption(index, which, number, machine.now()));
  switch (option) {
    case "SO_REUSEADDR":
      return { result: 0 };
    case "SO_LINGER":
      return set(TcpOption.Linger, numberIn(value, "onoff") ? numberIn(value, "linger") : -1);
    case "TCP_CONGESTION": {
      const isReno = value?.kind === "string" && value.value === "reno";
      return set(TcpOption.Congestion, isReno ? 1 : 0);
    }
    case "IP_TOS":
      return outcomeOf(
        machine.host.calls.socketSetOption(index, SocketOption.Tos, numberIn(value)),
      );
    case "SO_RCVBUF":
      return set(TcpOption.ReceiveBuffer, Math.max(2 * numberIn(value), RECEIVE_BUFFER_MIN));
    case "SO_SNDBUF":
      return set(TcpOption.SendBuffer, Math.max(2 * numberIn(value), SEND_BUFFER_MIN));
  }
  const known = OPTIONS[option];
  return known === undefined ? failure("ENOPROTOOPT") : set(known, numberIn(value));
}

/** What scripts look at: SO_ERROR, TCP_MAXSEG. */
export function getOption(
  { machine }: Program,
  { index }: Descriptor,
  [, , name]: Argument[],
): Outcome {
  const { sockets } = machine.host;
  switch (textOf(name)) {
    case "SO_ERROR":
      return { result: 0, outputs: [sockets.takeError(index)] };
    case "TCP_MAXSEG":
      return { result: 0, outputs: [sockets.tcbAt(index).sndMss] };
  }
  return failure("ENOPROTOOPT");
}

/** Queue lengths and the urgent mark. */
export function ioctl({ machine }: Program, { index }: Descriptor, [, name]: Argument[]): Outcome {
  const { sockets, calls } = machine.host;
  switch (textOf(name)) {
    case "SIOCINQ":
    case "FIONREAD":
      return { result: 0, outputs: [sockets.socketAt(index).readableBytes] };
    case "SIOCOUTQ":
      return { result: 0, outputs: [sockets.tcbAt(index).sendQueuedBytes] };
    case "SIOCATMARK":
      return { result: 0, outputs: [calls.tcpAtMark(index)] };
  }
  return failure("EINVAL");
}

export function fcntl(descriptor: Descriptor, [, command, value]: Argument[]): Outcome {
  const nonBlock = SYMBOLS.O_NONBLOCK ?? 0;
  if (textOf(command) === "F_GETFL") {
    return { result: (SYMBOLS.O_RDWR ?? 0) | (descriptor.nonBlocking ? nonBlock : 0) };
  }
  if (textOf(command) !== "F_SETFL") return failure("EINVAL");
  descriptor.nonBlocking = (numberIn(value) & nonBlock) !== 0;
  return { result: 0 };
}
