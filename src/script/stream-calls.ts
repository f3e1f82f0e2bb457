// read, write and their family, as native/shim has them.

import type { Argument } from "./events.ts";
import {
  type Attempt,
  checkRead,
  type Descriptor,
  failure,
  isErrno,
  type Outcome,
  outcomeOf,
  type Program,
  takePattern,
} from "./descriptors.ts";
import { patternByte } from "./flow.ts";
import { SYMBOLS } from "./symbols.ts";

/** tcpPush's flags. */
const PUSH_MORE = 1;
const PUSH_URGENT = 2;

const flag = (name: string): number => SYMBOLS[name] ?? 0;
const has = (flags: number, name: string): boolean => (flags & flag(name)) !== 0;

/** Sends `length` bytes; a blocking call goes on until all are taken. */
export function send(
  program: Program,
  descriptor: Descriptor,
  length: number,
  flags: number,
): Attempt {
  const { machine } = program;
  const { sockets } = machine.host;
  const isNonBlocking = descriptor.nonBlocking || has(flags, "MSG_DONTWAIT");
  const push = (has(flags, "MSG_MORE") ? PUSH_MORE : 0) | (has(flags, "MSG_OOB") ? PUSH_URGENT : 0);
  let done = 0;
  return () => {
    while (done < length || length === 0) {
      // What was taken counts first; the error is the next call's.
      if (done > 0 && sockets.socketAt(descriptor.index).error !== 0) return { result: done };
      const data = takePattern(descriptor, length - done);
      const sent = sockets.send(descriptor.index, data, machine.now(), push);
      if (sent > 0) {
        done += sent;
        descriptor.written += sent;
        continue;
      }
      if (length === 0 && sent === 0) return { result: 0 };
      if (!isErrno(sent, "EAGAIN")) return done > 0 ? { result: done } : outcomeOf(sent);
      if (!isNonBlocking) return undefined;
      return done > 0 ? { result: done } : failure("EAGAIN");
    }
    return { result: done };
  };
}

/** Receives up to `length` bytes. */
export function receive(
  program: Program,
  fd: number,
  descriptor: Descriptor,
  length: number,
  flags: number,
): Attempt {
  if (has(flags, "MSG_OOB")) return () => receiveUrgent(program, descriptor, flags);
  const { sockets } = program.machine.host;
  const isNonBlocking = descriptor.nonBlocking || has(flags, "MSG_DONTWAIT");
  let done = 0;
  const take = (): Outcome | undefined => {
    const lowat = sockets.tcbAt(descriptor.index).receiveLowat;
    const target = has(flags, "MSG_WAITALL") ? length : Math.min(length, Math.max(lowat, 1));
    const readable = sockets.socketAt(descriptor.index).readableBytes;
    const isEarly = readable > 0 && done + readable < target && !isNonBlocking;
    if (isEarly && !isEnded(program, descriptor) && !has(flags, "MSG_WAITALL")) return undefined;
    const data = has(flags, "MSG_PEEK")
      ? peeked(program, descriptor, length)
      : sockets.receive(descriptor.index, length - done, program.machine.now());
    if (typeof data === "number") {
      if (isErrno(data, "EAGAIN") && !isNonBlocking) return undefined;
      return done > 0 ? { result: done } : outcomeOf(data);
    }
    const next = checkRead(program, fd, descriptor.read, data);
    if (has(flags, "MSG_PEEK")) return { result: data.length };
    descriptor.read = next;
    done += data.length;
    const isAll = done >= target || data.length === 0 || isNonBlocking;
    return isAll ? { result: done } : undefined;
  };
  return take;
}

/** Nothing more will arrive: a reader that waits for more takes what there is. */
function isEnded(program: Program, { index }: Descriptor): boolean {
  const { calls } = program.machine.host;
  return (calls.socketReadiness(index) & (flag("POLLRDHUP") | flag("POLLERR"))) !== 0;
}

function peeked(program: Program, { index }: Descriptor, length: number): Uint8Array | number {
  const { sockets } = program.machine.host;
  const data = sockets.peek(index, length);
  return data.length > 0 ? data : sockets.receive(index, length, program.machine.now());
}

/** MSG_OOB: the urgent byte. Its place in the pattern is one that the peer marked. */
function receiveUrgent(program: Program, { index }: Descriptor, flags: number): Outcome {
  const { calls } = program.machine.host;
  const byte = calls.tcpUrgent(index, has(flags, "MSG_PEEK") ? 1 : 0);
  if (byte < 0) return outcomeOf(byte);
  const isMarked = [...program.urgent].some((position) => patternByte(position) === byte);
  if (!isMarked) program.wrongBytes.push(`urgent byte ${byte} is not one that the peer marked`);
  return { result: 1 };
}

/** Lengths of `[{..., 1000}, {..., 24}]`, added up. */
export function vectorBytes(vector: Argument | undefined): number {
  if (vector?.kind !== "list") return 0;
  return vector.items.reduce((sum, item) => {
    const length =
      item.kind === "struct" ? (item.fields.get("iov_len") ?? item.fields.get("1")) : undefined;
    return sum + (length?.kind === "number" ? length.value : 0);
  }, 0);
}
