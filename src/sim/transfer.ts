// What programs on simulated hosts do again and again: connect, accept, send and receive all.

import { End } from "./end.ts";
import type { Node } from "./node.ts";
import type { Program, Wait } from "./programs.ts";
import type { Endpoint } from "./sockets.ts";

const EAGAIN = 11;
const EADDRNOTAVAIL = 99;
/** Ports that are tried for a connection. */
const TRIES_MAX = 100;

/** Sends exactly `count` bytes, in writes of `size()`. False when the connection failed. */
export function* sendAll(
  end: End,
  count: number,
  size: () => number = () => count,
  flags: () => number = () => 0,
): Generator<Wait, boolean, void> {
  let left = count;
  while (left > 0) {
    const taken = end.send(Math.min(left, size()), flags());
    if (taken === "error") return false;
    if (taken === "wait") yield end.toSend;
    else left -= taken;
  }
  return true;
}

/** Receives until the end, `size()` bytes at a time, `pause()` nanoseconds between. */
export function* receiveToEnd(
  end: End,
  size: () => number = () => 65536,
  pause: () => number = () => 0,
): Generator<Wait, boolean, void> {
  for (;;) {
    const got = end.receive(size());
    if (got === "end") return true;
    if (got === "error") return false;
    if (got === "wait") yield end.readable;
    else {
      const nanos = pause();
      if (nanos > 0) yield nanos;
    }
  }
}

/** Receives exactly `count` bytes. False when the connection failed, or ended before. */
export function* receiveExactly(end: End, count: number): Generator<Wait, boolean, void> {
  let left = count;
  while (left > 0) {
    const got = end.receive(left);
    if (got === "end" || got === "error") return false;
    if (got === "wait") yield end.readable;
    else left -= got;
  }
  return true;
}

/** Opens a connection from this port. Undefined: the port is still in use for that. */
export function connectFrom(node: Node, own: number, to: Endpoint): End | undefined {
  const index = node.sockets.create();
  if (index < 0) node.fail(`socket: ${index}`);
  const result = node.sockets.connect(index, { port: own }, to, node.callTime());
  if (result === 0) {
    const conversation = node.ledger.open({ address: node.address, port: own }, to);
    return new End(node, index, conversation, true);
  }
  node.sockets.close(index, node.callTime());
  if (result !== -EADDRNOTAVAIL) node.fail(`connect: ${result}`);
  return undefined;
}

/** Opens a connection from a free port. */
export function connect(node: Node, address: string, port: number): End {
  for (let tries = 0; tries < TRIES_MAX; tries++) {
    const end = connectFrom(node, node.ephemeralPort(), { address, port });
    if (end) return end;
  }
  return node.fail("no port is free");
}

export interface ServerOptions {
  backlog?: number;
  address?: string;
  /**
   * Connections that no client of this world made, or that were accepted before, are closed at once
   * instead of being an error: a SYN cookie that comes back a second time is as good as the first.
   */
  strangers?: boolean;
  /** Nanoseconds to do nothing before each accept(2). */
  pause?: () => number;
}

/** A program that accepts for ever, and starts `serve` for each connection. */
export function* accepting(
  node: Node,
  port: number,
  serve: (end: End) => Program,
  options: ServerOptions = {},
): Program {
  const { backlog = 128, address = "0.0.0.0" } = options;
  const listener = node.sockets.create();
  const result = node.sockets.listen(listener, { address, port }, backlog);
  if (result !== 0) node.fail(`listen: ${result}`);
  node.listeners.push(listener);
  const start = (end: End) => node.spawn(`server of ${end.conversation.client.port}`, serve(end));
  yield* acceptEach(node, listener, port, start, options);
}

/** Accepts for ever, and hands every connection over. */
export function* acceptEach(
  node: Node,
  listener: number,
  port: number,
  handOver: (end: End) => void,
  { strangers = false, pause = () => 0 }: ServerOptions = {},
): Program {
  for (;;) {
    const nanos = pause();
    if (nanos > 0) yield nanos;
    const index = node.sockets.accept(listener);
    if (index === -EAGAIN) {
      yield { socket: listener, isReady: () => node.sockets.readiness(listener) !== 0 };
      continue;
    }
    if (index < 0) node.fail(`accept: ${index}`);
    const remote = node.sockets.remoteOf(index);
    const found = node.ledger.find(remote, { address: node.address, port });
    if (!found) {
      if (!strangers)
        node.fail(`accepted a connection of nobody, ${remote.address}:${remote.port}`);
      node.sockets.close(index, node.callTime());
      continue;
    }
    found.isAccepted = true;
    handOver(new End(node, index, found, false));
  }
}
