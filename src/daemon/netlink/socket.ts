// Netlink sockets: synchronous requests (the kernel answers before sendmsg returns, so nothing has
// to wait) and a stream of events.

import { check, native, SystemError, type Watch, watch } from "../native.ts";
import {
  decodeMessages,
  errorOf,
  NLM_F_DUMP_INTR,
  NLMSG_DONE,
  NLMSG_ERROR,
  type NetlinkMessage,
} from "./message.ts";

export const NETLINK_ROUTE = 0;
export const NETLINK_SOCK_DIAG = 4;

const AF_NETLINK = 16;
const SOCK_RAW = 3;
const SOL_SOCKET = 1;
const SO_RCVBUFFORCE = 33;
const SOL_NETLINK = 270;
const NETLINK_ADD_MEMBERSHIP = 1;
const NETLINK_DROP_MEMBERSHIP = 2;
const GROUPS_MAX = 32;
const MSG_TRUNC = 0x20;
const EAGAIN = 11;
const EINTR = 4;
const ENOBUFS = 105;
const EBUSY = 16;

/** The kernel makes dump buffers as large as the reader's, up to this. */
const BUFFER_BYTES = 32768;
/** A program that ends may take tens of thousands of sockets with it. */
const EVENT_BACKLOG_BYTES = 64 << 20;
/** A dump that changes under the reader is repeated this often. */
const DUMP_TRIES = 5;

function address(groups: number): Buffer {
  const bytes = Buffer.alloc(12);
  bytes.writeUInt16LE(AF_NETLINK, 0);
  bytes.writeUInt32LE(groups, 8);
  return bytes;
}

function open(protocol: number, groups: number): number {
  const fd = check(native().socket(AF_NETLINK, SOCK_RAW, protocol), "netlink socket");
  try {
    check(native().bind(fd, address(groups)), "netlink bind");
    // Connected to the kernel: nobody else's messages are accepted.
    check(native().connect(fd, address(0)), "netlink connect");
    return fd;
  } catch (error) {
    native().close(fd);
    throw error;
  }
}

/** Requests and their answers. */
export class NetlinkRequests {
  readonly #fd: number;
  readonly #buffer = Buffer.alloc(BUFFER_BYTES);
  #sequence = 0;

  constructor(protocol: number) {
    this.#fd = open(protocol, 0);
  }

  /**
   * Sends what `encode` makes and returns the messages of the answer. An error answer is thrown
   * as a SystemError.
   */
  request(what: string, encode: (sequence: number) => Buffer): NetlinkMessage[] {
    this.#sequence = (this.#sequence + 1) >>> 0;
    const request = encode(this.#sequence);
    check(native().send(this.#fd, request, [], null), what);
    const dump = (request.readUInt16LE(6) & 0x300) === 0x300;
    const messages: NetlinkMessage[] = [];
    let interrupted = false;
    for (;;) {
      const length = native().receive(this.#fd, this.#buffer, MSG_TRUNC);
      if (length === -EINTR) continue;
      if (length === -EAGAIN && !dump) return messages;
      check(length, what);
      const { messages: part } = decodeMessages(
        Buffer.from(this.#buffer.subarray(0, Math.min(length, BUFFER_BYTES))),
      );
      for (const message of part) {
        if (message.sequence !== this.#sequence) continue;
        interrupted ||= (message.flags & NLM_F_DUMP_INTR) !== 0;
        if (message.type === NLMSG_ERROR || message.type === NLMSG_DONE) {
          const error = errorOf(message);
          if (error > 0) throw new SystemError(what, error);
          if (interrupted) throw new SystemError(`${what} (changed meanwhile)`, EBUSY);
          return messages;
        }
        messages.push(message);
      }
      if (!dump && messages.length > 0) return messages;
    }
  }

  /** A dump, repeated when the kernel says that it was inconsistent. */
  dump(what: string, encode: (sequence: number) => Buffer): NetlinkMessage[] {
    for (let tries = 1; ; tries++) {
      try {
        return this.request(what, encode);
      } catch (error) {
        const retry = error instanceof SystemError && error.errno === EBUSY;
        if (!retry || tries >= DUMP_TRIES) throw error;
      }
    }
  }

  close(): void {
    native().close(this.#fd);
  }
}

export interface EventHandlers {
  /** One or more messages that arrived together. */
  onMessages(messages: NetlinkMessage[]): void;
  /** Events were lost: what they would have told has to be asked for. */
  onLost(): void;
}

/** Notifications of multicast groups. */
export class NetlinkEvents {
  readonly #fd: number;
  readonly #groups: number;
  readonly #watch: Watch;
  readonly #handlers: EventHandlers;
  readonly #buffer = Buffer.alloc(BUFFER_BYTES);
  #pause: NodeJS.Timeout | undefined;

  /**
   * `pauseMillis`: after events, others are left lying for so long and then handled together. Where
   * they come by the thousand, waking for each costs more than handling it.
   */
  constructor(protocol: number, groups: number, handlers: EventHandlers, pauseMillis = 0) {
    this.#handlers = handlers;
    this.#groups = groups;
    this.#fd = open(protocol, groups);
    const size = Buffer.alloc(4);
    size.writeUInt32LE(EVENT_BACKLOG_BYTES);
    native().setSocketOption(this.#fd, SOL_SOCKET, SO_RCVBUFFORCE, size);
    this.#watch = watch(this.#fd, () => {
      this.drain();
      if (pauseMillis > 0) this.#rest(pauseMillis);
    });
  }

  #rest(millis: number): void {
    native().watchStop(this.#watch);
    this.#pause = setTimeout(() => {
      this.drain();
      native().watchStart(this.#watch);
    }, millis);
  }

  /** Handles what is there now. Called by the event loop; callable any time. */
  drain(): void {
    for (;;) {
      const length = native().receive(this.#fd, this.#buffer, MSG_TRUNC);
      if (length === -EAGAIN) return;
      if (length === -EINTR) continue;
      if (length === -ENOBUFS || length > BUFFER_BYTES) {
        this.#handlers.onLost();
        continue;
      }
      check(length, "netlink events");
      const { messages, malformed } = decodeMessages(Buffer.from(this.#buffer.subarray(0, length)));
      if (messages.length > 0) this.#handlers.onMessages(messages);
      if (malformed) this.#handlers.onLost();
    }
  }

  /** Stops to hear of anything: then it costs nobody anything. */
  leave(): void {
    this.#setMembership(NETLINK_DROP_MEMBERSHIP);
  }

  /** Hears of what happens from now on, again. */
  join(): void {
    this.#setMembership(NETLINK_ADD_MEMBERSHIP);
  }

  #setMembership(change: number): void {
    const group = Buffer.alloc(4);
    for (let bit = 0; bit < GROUPS_MAX; bit++) {
      if ((this.#groups & (1 << bit)) === 0) continue;
      group.writeUInt32LE(bit + 1);
      check(native().setSocketOption(this.#fd, SOL_NETLINK, change, group), "netlink groups");
    }
  }

  close(): void {
    clearTimeout(this.#pause);
    native().watchClose(this.#watch);
    native().close(this.#fd);
  }
}
