// Programs that use the stack: joining, and cleaning up after them.

import { readFileSync } from "node:fs";
import { BUILD_HASH_TEXT } from "../../build/gen/build-hash.ts";
import type { Connection } from "./control.ts";
import type { Logger } from "./log.ts";
import { native } from "./native.ts";
import type { Region } from "./region.ts";
import { formatAttachment, formatRefusal } from "./requests.ts";

export interface Client {
  readonly slot: number;
  readonly pid: number;
  readonly uid: number;
  /** Name of the program. */
  readonly command: string;
  readonly connection: Connection;
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, "utf8").trimEnd();
  } catch {
    return "?";
  }
}

/** What programs get besides the AF_XDP sockets. */
export interface Attachments {
  readonly arrivalsProgramFd: number;
  queues(): { slot: number; fd: number }[];
}

export class Clients {
  readonly #region: Region;
  readonly #attachments: Attachments;
  readonly #log: Logger;
  readonly #clients = new Map<Connection, Client>();
  readonly #onChange: () => void;

  constructor(region: Region, attachments: Attachments, log: Logger, onChange: () => void) {
    this.#region = region;
    this.#attachments = attachments;
    this.#log = log;
    this.#onChange = onChange;
  }

  get size(): number {
    return this.#clients.size;
  }

  list(): Client[] {
    return [...this.#clients.values()];
  }

  /** Answers `join`. Preconditions: the peer may join. */
  join(connection: Connection, build: string): void {
    const refusal = this.#reasonAgainst(connection, build);
    if (refusal !== undefined) {
      connection.send(formatRefusal(refusal));
      return;
    }
    const { pid, uid } = connection.peer;
    const slot = this.#region.stack.clientAdd(pid);
    if (slot < 0) {
      connection.send(formatRefusal("too many programs use this stack"));
      return;
    }
    const client: Client = { slot, pid, uid, command: commandOf(pid), connection };
    this.#clients.set(connection, client);
    native().coreSetClient(slot, connection.fd);
    const { memoryFd, steeringFd, arrivalsFd } = this.#region;
    const fds = [memoryFd, steeringFd, arrivalsFd, this.#attachments.arrivalsProgramFd];
    this.#attach(client, fds);
    this.#log.debug({ pid, command: client.command, slot }, "program joined");
    this.#onChange();
  }

  #reasonAgainst(connection: Connection, build: string): string | undefined {
    if (this.#clients.has(connection)) return "this connection has joined already";
    if (build === BUILD_HASH_TEXT) return undefined;
    return `exasockd is of build ${BUILD_HASH_TEXT}, the library of build ${build}`;
  }

  /** Answers `queues`. */
  sendQueues(connection: Connection): void {
    const client = this.#clients.get(connection);
    if (client) this.#attach(client, []);
    else connection.send(formatRefusal("join first"));
  }

  #attach(client: Client, fds: readonly number[]): void {
    const queues = this.#attachments.queues();
    const all = [...fds, ...queues.map((queue) => queue.fd)];
    const slots = queues.map((queue) => queue.slot);
    const text = formatAttachment(client.slot, this.#region.bytes, all.length, slots);
    client.connection.send(text, all);
  }

  /** The connection is about to close: a program has ended, or another one took its place. */
  leave(connection: Connection): void {
    const client = this.#clients.get(connection);
    if (client === undefined) return;
    this.#clients.delete(connection);
    const { pid, command, slot } = client;
    native().coreSetClient(slot, 0);
    if (native().coreRecover(slot) === 1) {
      this.#log.warn({ pid, command }, "a program died in the stack: repaired");
    }
    this.#region.stack.clientRemove(slot);
    this.#log.debug({ pid, command, slot }, "program left");
    this.#onChange();
  }
}
