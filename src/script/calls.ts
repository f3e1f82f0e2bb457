// System calls of packet scripts: each becomes an attempt that is repeated until it does not block.

import { TcpState } from "../../build/gen/layout.ts";
import type { Argument, Call } from "./events.ts";
import {
  type Attempt,
  type Descriptor,
  failure,
  isErrno,
  type Outcome,
  outcomeOf,
  type Program,
} from "./descriptors.ts";
import { FIRST_PORT } from "./flow.ts";
import { IFINDEX, PEER } from "./machine.ts";
import { fcntl, getOption, ioctl, setOption } from "./option-calls.ts";
import { receive, send, vectorBytes } from "./stream-calls.ts";
import { errnoName, SYMBOLS } from "./symbols.ts";

type Handler = (program: Program, call: Call) => Attempt;

function numberAt(list: Argument[], at: number): number {
  const argument = list[at];
  return argument?.kind === "number" ? argument.value : 0;
}

/** A number in a struct argument: `{port=9000}`. */
function fieldAt(list: Argument[], at: number, name: string): number | undefined {
  const argument = list[at];
  const field = argument?.kind === "struct" ? argument.fields.get(name) : undefined;
  return field?.kind === "number" ? field.value : undefined;
}

const done =
  (outcome: Outcome): Attempt =>
  () =>
    outcome;

/** A call on an open descriptor, named by the first argument. */
function onDescriptor(
  act: (program: Program, descriptor: Descriptor, list: Argument[], fd: number) => Attempt,
): Handler {
  return (program, call) => {
    const fd = numberAt(call.arguments, 0);
    const descriptor = program.descriptors.get(fd);
    return descriptor ? act(program, descriptor, call.arguments, fd) : done(failure("EBADF"));
  };
}

/** A new descriptor with the number that the script gives it. */
function open(program: Program, fd: number, index: number, isNonBlocking: boolean): Outcome {
  program.descriptors.set(fd, {
    index,
    nonBlocking: isNonBlocking,
    boundPort: undefined,
    connecting: false,
    written: 0,
    read: 0,
  });
  return { result: fd };
}

/** The number that the script expects, or the lowest free one. */
function freeNumber(program: Program, call: Call): number {
  if (call.result !== undefined && call.result >= 0) return call.result;
  let fd = 3;
  while (program.descriptors.has(fd)) fd += 1;
  return fd;
}

function openSocket(program: Program, call: Call): Attempt {
  const isNonBlocking = (numberAt(call.arguments, 1) & (SYMBOLS.SOCK_NONBLOCK ?? 0)) !== 0;
  const index = program.machine.host.sockets.create();
  if (index < 0) return done(outcomeOf(index));
  return done(open(program, freeNumber(program, call), index, isNonBlocking));
}

function listen({ machine }: Program, descriptor: Descriptor, list: Argument[]): Attempt {
  const at = { address: "0.0.0.0", port: descriptor.boundPort ?? FIRST_PORT };
  const { listen } = machine.host.sockets;
  return done(outcomeOf(listen(descriptor.index, at, numberAt(list, 1))));
}

function accept(program: Program, call: Call): Attempt {
  const { machine } = program;
  const listener = program.descriptors.get(numberAt(call.arguments, 0));
  if (!listener) return done(failure("EBADF"));
  const isNonBlocking = (numberAt(call.arguments, 3) & (SYMBOLS.SOCK_NONBLOCK ?? 0)) !== 0;
  return () => {
    const index = machine.host.sockets.accept(listener.index);
    if (index < 0) {
      if (isErrno(index, "EAGAIN") && !listener.nonBlocking) return undefined;
      return outcomeOf(index);
    }
    const fd = freeNumber(program, call);
    program.subject = fd;
    return open(program, fd, index, isNonBlocking);
  };
}

/** `connect(3, ..., ...)` goes to peer 0, `connect(3, {peer=1}, ...)` to another. */
function connect(program: Program, descriptor: Descriptor, list: Argument[], fd: number): Attempt {
  const { machine } = program;
  const { index } = descriptor;
  const { sockets } = machine.host;
  if (descriptor.connecting) return () => repeatedConnect(program, descriptor);
  if (sockets.tcbAt(index).state !== TcpState.Closed) return done(failure("EISCONN"));
  const peer = fieldAt(list, 1, "peer") ?? 0;
  const port = descriptor.boundPort ?? program.nextPort++;
  program.onConnect(peer, port);
  program.subject = fd;
  const source = { port, ifindex: IFINDEX };
  const to = { address: PEER, port: FIRST_PORT + peer };
  const started = sockets.connect(index, source, to, machine.now());
  if (started < 0) return done(outcomeOf(started));
  descriptor.connecting = true;
  if (descriptor.nonBlocking) return done(failure("EINPROGRESS"));
  return () => connectStatus(program, descriptor);
}

/** What a connect(2) that waits returns; undefined: it still does. */
function connectStatus(program: Program, { index }: Descriptor): Outcome | undefined {
  const { sockets } = program.machine.host;
  const tcb = sockets.tcbAt(index);
  if (tcb.state === TcpState.SynSent || tcb.state === TcpState.SynReceived) return undefined;
  if (tcb.state !== TcpState.Closed) return { result: 0 };
  const error = sockets.takeError(index);
  return failure(error === 0 ? "ECONNABORTED" : errnoName(error));
}

/** connect(2) again, while it goes on or when it is over; success is told once. */
function repeatedConnect(program: Program, descriptor: Descriptor): Outcome | undefined {
  const { sockets } = program.machine.host;
  const { state } = sockets.tcbAt(descriptor.index);
  const isGoingOn = state === TcpState.SynSent || state === TcpState.SynReceived;
  if (isGoingOn) return descriptor.nonBlocking ? failure("EALREADY") : undefined;
  descriptor.connecting = false;
  if (state !== TcpState.Closed) return { result: 0 };
  const error = sockets.takeError(descriptor.index);
  return failure(error === 0 ? "ECONNABORTED" : errnoName(error));
}

function close(program: Program, descriptor: Descriptor, _: Argument[], fd: number): Attempt {
  const { host, now } = program.machine;
  host.sockets.close(descriptor.index, now());
  program.descriptors.delete(fd);
  return done({ result: 0 });
}

/** `poll([{fd=4, events=POLLIN, revents=POLLIN}], 1, 1000)`: milliseconds, -1 for ever. */
function poll(program: Program, call: Call): Attempt {
  const [list] = call.arguments;
  const timeout = numberAt(call.arguments, 2);
  const items = list?.kind === "list" ? list.items : [];
  const { calls } = program.machine.host;
  const always = (SYMBOLS.POLLERR ?? 0) | (SYMBOLS.POLLHUP ?? 0);
  const began = program.machine.elapsed();
  return () => {
    const outputs = items.map((_, at) => {
      const fd = fieldAt(items, at, "fd") ?? -1;
      const descriptor = program.descriptors.get(fd);
      const wanted = (fieldAt(items, at, "events") ?? 0) | always;
      return descriptor ? calls.socketReadiness(descriptor.index) & wanted : 0;
    });
    const result = outputs.filter((events) => events !== 0).length;
    const isOver = timeout >= 0 && program.machine.elapsed() >= began + timeout * 1e6;
    return result > 0 || isOver ? { result, outputs } : undefined;
  };
}

function shutdown({ machine }: Program, { index }: Descriptor, list: Argument[]): Attempt {
  const { sockets } = machine.host;
  return done(outcomeOf(sockets.shutdown(index, numberAt(list, 1), machine.now())));
}

const sending = onDescriptor((program, descriptor, list) =>
  send(program, descriptor, numberAt(list, 2), numberAt(list, 3)),
);
const receiving = onDescriptor((program, descriptor, list, fd) =>
  receive(program, fd, descriptor, numberAt(list, 2), numberAt(list, 3)),
);

const HANDLERS: Readonly<Record<string, Handler>> = {
  socket: openSocket,
  bind: onDescriptor((_, descriptor, list) => {
    descriptor.boundPort = fieldAt(list, 1, "port") ?? FIRST_PORT;
    return done({ result: 0 });
  }),
  listen: onDescriptor(listen),
  accept,
  accept4: accept,
  connect: onDescriptor(connect),
  close: onDescriptor(close),
  shutdown: onDescriptor(shutdown),
  write: sending,
  send: sending,
  sendto: sending,
  read: receiving,
  recv: receiving,
  recvfrom: receiving,
  writev: onDescriptor((program, descriptor, list) =>
    send(program, descriptor, vectorBytes(list[1]), 0),
  ),
  readv: onDescriptor((program, descriptor, list, fd) =>
    receive(program, fd, descriptor, vectorBytes(list[1]), 0),
  ),
  poll,
  fcntl: onDescriptor((_, descriptor, list) => done(fcntl(descriptor, list))),
  ioctl: onDescriptor((program, descriptor, list) => done(ioctl(program, descriptor, list))),
  setsockopt: onDescriptor((program, descriptor, list) =>
    done(setOption(program, descriptor, list)),
  ),
  getsockopt: onDescriptor((program, descriptor, list) =>
    done(getOption(program, descriptor, list)),
  ),
};

/** Begins a call; the attempt is to be made at once, and again when something has changed. */
export function beginCall(program: Program, call: Call): Attempt {
  const handler = HANDLERS[call.name];
  if (!handler) throw new Error(`packet scripts know no call ${call.name}`);
  return handler(program, call);
}

/** Which values a script expects to be written through pointers, in the order of `outputs`. */
export function expectedOutputs(call: Call): (number | undefined)[] | undefined {
  const [, second, , fourth] = call.arguments;
  const numberOf = (argument: Argument | undefined) =>
    argument?.kind === "number" ? argument.value : undefined;
  if (call.name === "getsockopt" && fourth?.kind === "list") return fourth.items.map(numberOf);
  if (call.name === "ioctl") {
    const third = call.arguments[2];
    return third?.kind === "list" ? third.items.map(numberOf) : undefined;
  }
  if (call.name !== "poll") return undefined;
  const [list] = call.arguments;
  if (list?.kind !== "list" || second === undefined) return undefined;
  return list.items.map((_, at) => fieldAt(list.items, at, "revents"));
}
