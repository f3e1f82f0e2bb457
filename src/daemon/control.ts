// The control socket: an abstract Unix address, which one process of a network namespace can bind.
// That makes it the lock that keeps exasockd single, too.

import { controlAddress } from "../cli/control-client.ts";
import { type Peer, peerOf, refusalNow } from "./authorisation.ts";
import type { Logger } from "./log.ts";
import { check, native, type Watch, watch } from "./native.ts";
import { REQUEST_BYTES_MAX } from "./requests.ts";

const AF_UNIX = 1;
const SOCK_SEQPACKET = 5;
const SOCK_DGRAM = 2;
const SOL_SOCKET = 1;
const SO_SNDBUFFORCE = 32;
const MSG_TRUNC = 0x20;
const EADDRINUSE = 98;
const EAGAIN = 11;
const EINTR = 4;
const ECONNABORTED = 103;

const BACKLOG = 4096;
const CONNECTIONS_MAX = 2048;
/**
 * Of processes that may not join: they must not use up what others need. Programs that gave up the
 * right come back by the hundred when exasockd died and another one took over.
 */
const STRANGERS_MAX = 1024;
/** Status replies are one packet, however many sockets there are. */
const SEND_BUFFER_BYTES = 4 << 20;
/** Pause after accept() failed for want of descriptors. */
const ACCEPT_PAUSE_MILLIS = 100;

/** One connected process. */
export class Connection {
  readonly fd: number;
  readonly peer: Peer;
  /** The process may not use the stack. */
  readonly isStranger: boolean;
  readonly #watch: Watch;
  #open = true;

  constructor(
    fd: number,
    peer: Peer,
    isStranger: boolean,
    onReadable: (connection: Connection) => void,
  ) {
    this.fd = fd;
    this.peer = peer;
    this.isStranger = isStranger;
    this.#watch = watch(fd, () => onReadable(this));
  }

  get isOpen(): boolean {
    return this.#open;
  }

  /** Sends one packet. False if the peer does not take it. */
  send(text: string, fds: number[] = []): boolean {
    return this.#open && native().send(this.fd, Buffer.from(text), fds, null) >= 0;
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    native().watchClose(this.#watch);
    native().close(this.fd);
  }
}

export interface ControlHandlers {
  onRequest(connection: Connection, packet: Buffer): void;
  onClose(connection: Connection): void;
}

/** The listening socket and its connections. */
export class Control {
  readonly #fd: number;
  readonly #stack: string;
  readonly #log: Logger;
  readonly #connections = new Set<Connection>();
  readonly #buffer = Buffer.alloc(REQUEST_BYTES_MAX);
  #watch: Watch | undefined;
  #handlers: ControlHandlers | undefined;

  private constructor(fd: number, stack: string, log: Logger) {
    this.#fd = fd;
    this.#stack = stack;
    this.#log = log;
  }

  /** Undefined when another process serves this stack. Connections wait until `serve`. */
  static listen(stack: string, log: Logger): Control | undefined {
    const fd = check(native().socket(AF_UNIX, SOCK_SEQPACKET, 0), "control socket");
    const bound = native().bind(fd, controlAddress(stack));
    if (bound === -EADDRINUSE) {
      native().close(fd);
      return undefined;
    }
    check(bound, "control socket");
    check(native().listen(fd, BACKLOG), "control socket");
    return new Control(fd, stack, log);
  }

  /** Starts to answer. */
  serve(handlers: ControlHandlers): void {
    this.#handlers = handlers;
    this.#watch = watch(this.#fd, () => this.#acceptAll());
  }

  #acceptAll(): void {
    for (;;) {
      const fd = native().accept(this.#fd);
      if (fd === -EAGAIN) return;
      if (fd === -EINTR || fd === -ECONNABORTED) continue;
      if (fd < 0) {
        this.#log.warn({ errno: -fd }, "can't accept a connection");
        this.#pause();
        return;
      }
      this.#add(fd);
    }
  }

  #add(fd: number): void {
    const peer = this.#connections.size < CONNECTIONS_MAX ? peerOf(fd) : undefined;
    const isStranger = peer !== undefined && refusalNow("join", peer, this.#stack) !== undefined;
    const strangers = [...this.#connections].filter((one) => one.isStranger).length;
    if (peer === undefined || (isStranger && strangers >= STRANGERS_MAX)) {
      native().close(fd);
      return;
    }
    const size = Buffer.alloc(4);
    size.writeUInt32LE(SEND_BUFFER_BYTES);
    native().setSocketOption(fd, SOL_SOCKET, SO_SNDBUFFORCE, size);
    this.#connections.add(new Connection(fd, peer, isStranger, (one) => this.#receive(one)));
  }

  #pause(): void {
    const paused = this.#watch;
    if (paused === undefined) return;
    native().watchStop(paused);
    setTimeout(() => {
      if (this.#watch === paused) native().watchStart(paused);
    }, ACCEPT_PAUSE_MILLIS);
  }

  #receive(connection: Connection): void {
    while (connection.isOpen) {
      const length = native().receive(connection.fd, this.#buffer, MSG_TRUNC);
      if (length === -EAGAIN) return;
      if (length === -EINTR) continue;
      if (length <= 0) {
        this.drop(connection);
        return;
      }
      // A packet that was cut does not parse, and is answered so.
      const end = Math.min(length, REQUEST_BYTES_MAX);
      this.#handlers?.onRequest(connection, Buffer.from(this.#buffer.subarray(0, end)));
    }
  }

  /** Ends a connection, from either side. */
  drop(connection: Connection): void {
    if (!this.#connections.delete(connection)) return;
    this.#handlers?.onClose(connection);
    connection.close();
  }

  /** Ends all of them and gives the address up. */
  close(): void {
    if (this.#watch) native().watchClose(this.#watch);
    this.#watch = undefined;
    for (const connection of this.#connections) connection.close();
    this.#connections.clear();
    native().close(this.#fd);
  }
}

/** The datagram socket on which others wake exasockd, and it wakes others. */
export class Doorbell {
  readonly #fd: number;
  readonly #stack: string;
  readonly #watch: Watch;
  readonly #buffer = Buffer.alloc(16);

  constructor(stack: string, onRing: () => void) {
    this.#stack = stack;
    this.#fd = check(native().socket(AF_UNIX, SOCK_DGRAM, 0), "doorbell");
    check(native().bind(this.#fd, controlAddress(stack, "/bell/0")), "doorbell");
    this.#watch = watch(this.#fd, () => {
      let length = 0;
      do {
        length = native().receive(this.#fd, this.#buffer, 0);
      } while (length >= 0 || length === -EINTR);
      onRing();
    });
  }

  /** Wakes the thread that sleeps in this slot. */
  ring(waiter: number): void {
    const address = controlAddress(this.#stack, `/bell/${waiter}`);
    // A full queue is as good as a ring, and a thread that is gone needs none.
    native().send(this.#fd, Buffer.alloc(1), [], address);
  }

  close(): void {
    native().watchClose(this.#watch);
    native().close(this.#fd);
  }
}
