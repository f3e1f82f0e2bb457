// Questions to the exasockd of this network namespace: one packet there, one back.

import type { Status } from "../daemon/status.ts";
import { errno } from "./errno.ts";
import { AppError } from "./errors.ts";
import { native } from "./native.ts";

const AF_UNIX = 1;
const SOCK_SEQPACKET = 5;
const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
const MSG_TRUNC = 0x20;
/** As exasockd's own limit for one reply. */
const REPLY_BYTES_MAX = 4 << 20;
const REPLY_INTERVAL_MILLIS = 1;
export const REPLY_TIMEOUT_MILLIS = 5_000;

export interface Request {
  type: string;
  [field: string]: unknown;
}

export interface Reply {
  ok: boolean;
  error?: string;
}

/** The abstract Unix address of a stack's exasockd: the kernel keeps one per network namespace. */
export function controlAddress(stack: string, suffix = ""): Uint8Array {
  const name = Buffer.from(`\0exasock/${stack}${suffix}`);
  return Buffer.concat([Buffer.of(AF_UNIX, 0), name]);
}

/** Blocks this thread: the launcher has nothing else to do. */
export function sleepMillis(millis: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, millis);
}

/** Anybody can bind an abstract address: the uid of who listens unless it is root or ourselves. */
function strangerAt(fd: number): number | null {
  const credentials = Buffer.alloc(12);
  const length = native().getSocketOption(fd, SOL_SOCKET, SO_PEERCRED, credentials);
  const uid = length === credentials.length ? credentials.readUInt32LE(4) : -1;
  return uid === 0 || uid === process.geteuid?.() ? null : uid;
}

function hungUp(): AppError {
  return new AppError("hung-up", "exasockd ended the connection");
}

/** A connection to exasockd, or null when nobody listens. */
export class ControlClient {
  readonly #fd: number;
  #open = true;

  private constructor(fd: number) {
    this.#fd = fd;
  }

  static connect(stack: string): ControlClient | null {
    const { socket, connect, close } = native();
    const fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
    if (fd < 0) throw new AppError("daemon", `could not make a socket (${errno.name(-fd)})`);
    const address = controlAddress(stack);
    let result = connect(fd, address);
    // Its backlog is full for a moment when many programs start at once.
    for (let tries = 0; result === -errno.EAGAIN && tries < REPLY_TIMEOUT_MILLIS; tries++) {
      sleepMillis(REPLY_INTERVAL_MILLIS);
      result = connect(fd, address);
    }
    if (result >= 0) {
      const stranger = strangerAt(fd);
      if (stranger === null) return new ControlClient(fd);
      close(fd);
      throw new AppError("daemon", `a process of uid ${stranger} took exasockd's address`);
    }
    close(fd);
    if (result === -errno.ECONNREFUSED) return null;
    throw new AppError("daemon", `could not reach exasockd (${errno.name(-result)})`);
  }

  /**
   * Throws "hung-up" when exasockd ends the connection, "daemon" when it does not answer in time
   * or answers nonsense.
   */
  request(request: Request, timeoutMillis = REPLY_TIMEOUT_MILLIS): Reply {
    const sent = native().send(this.#fd, Buffer.from(JSON.stringify(request)), [], null);
    if (sent === -errno.EPIPE) throw hungUp();
    if (sent < 0) throw new AppError("daemon", `exasockd does not listen (${errno.name(-sent)})`);
    const reply = JSON.parse(this.#receive(timeoutMillis)) as Reply;
    if (typeof reply !== "object" || typeof reply.ok !== "boolean") {
      throw new AppError("daemon", "exasockd answered something that is not a reply");
    }
    return reply;
  }

  #receive(timeoutMillis: number): string {
    const into = Buffer.allocUnsafe(REPLY_BYTES_MAX);
    const deadline = performance.now() + timeoutMillis;
    for (;;) {
      const length = native().receive(this.#fd, into, MSG_TRUNC);
      if (length > REPLY_BYTES_MAX) throw new AppError("daemon", "exasockd's reply is too long");
      if (length > 0) return into.toString("utf8", 0, length);
      if (length === 0 || length === -errno.ECONNRESET) throw hungUp();
      if (length !== -errno.EAGAIN) {
        throw new AppError("daemon", `exasockd does not answer (${errno.name(-length)})`);
      }
      if (performance.now() > deadline) {
        const seconds = Math.ceil(timeoutMillis / 1000);
        throw new AppError("daemon", `exasockd did not answer within ${seconds} s`);
      }
      sleepMillis(REPLY_INTERVAL_MILLIS);
    }
  }

  close(): void {
    if (this.#open) native().close(this.#fd);
    this.#open = false;
  }
}

/** One question and its answer; null when no exasockd runs. */
export function ask(stack: string, request: Request, timeoutMillis?: number): Reply | null {
  const client = ControlClient.connect(stack);
  if (client === null) return null;
  try {
    return client.request(request, timeoutMillis);
  } finally {
    client.close();
  }
}

/**
 * The status of the stack; null when no exasockd runs, or when it ended before it answered. One
 * that is still starting answers when it is ready.
 */
export function askStatus(stack: string, timeoutMillis?: number): Status | null {
  try {
    const reply = ask(stack, { type: "status" }, timeoutMillis);
    if (reply !== null && !reply.ok) throw new AppError("daemon", reply.error ?? "refused");
    return reply as Status | null;
  } catch (error) {
    if (error instanceof AppError && error.code === "hung-up") return null;
    throw error;
  }
}
