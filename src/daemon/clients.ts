// Programs that use the stack: joining, and cleaning up after them.

import { readFileSync, statSync } from "node:fs";
import { BUILD_HASH_TEXT } from "../../build/gen/build-hash.ts";
import { CLIENT_BYTES, CLIENTS_OFFSET, ClientView, MAX_CLIENTS } from "../../build/gen/layout.ts";
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
  /** Undefined: it joined under an exasockd that died, and has not come to this one yet. */
  readonly connection: Connection | undefined;
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, "utf8").trimEnd();
  } catch {
    return "?";
  }
}

function uidOf(pid: number): number {
  try {
    return statSync(`/proc/${pid}`).uid;
  } catch {
    return 0;
  }
}

/** What programs get besides the AF_XDP sockets. */
export interface Attachments {
  readonly arrivalsProgramFd: number;
  readonly vaultFds: readonly [number, number];
  queues(): { slot: number; fd: number }[];
}

export class Clients {
  readonly #region: Region;
  readonly #attachments: Attachments;
  readonly #log: Logger;
  readonly #clients = new Map<number, Client>();
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

  /** After a dead exasockd: its programs are ours, those that still live. */
  takeOver(): void {
    const { view } = this.#region;
    for (let slot = 1; slot < MAX_CLIENTS; slot++) {
      const { pid } = new ClientView(view, CLIENTS_OFFSET + slot * CLIENT_BYTES);
      if (pid === 0) continue;
      const client = { slot, pid, uid: uidOf(pid), command: commandOf(pid), connection: undefined };
      this.#clients.set(slot, client);
    }
    this.dropDead();
  }

  /** Removes programs that ended without a connection to us. Called about once a second. */
  dropDead(): void {
    for (const client of this.#clients.values()) {
      if (client.connection === undefined && native().coreClaimant(client.slot) === 0) {
        this.#remove(client);
      }
    }
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
    this.#clients.set(slot, client);
    const { memoryFd, steeringFd, arrivalsFd } = this.#region;
    const { arrivalsProgramFd, vaultFds } = this.#attachments;
    this.#attach(client, [memoryFd, steeringFd, arrivalsFd, arrivalsProgramFd, ...vaultFds]);
    this.#log.debug({ pid, command: client.command, slot }, "program joined");
    this.#onChange();
  }

  /**
   * Answers `rejoin`: a program that an exasockd which died knew. That it lives in its slot is
   * proved by the kernel, so that it need not have the right to join any more.
   */
  rejoin(connection: Connection, build: string, slot: number): void {
    const known = this.#clients.get(slot);
    const { pid } = connection.peer;
    let refusal = this.#reasonAgainst(connection, build);
    if (known === undefined || known.connection || native().coreClaimant(slot) !== pid) {
      refusal ??= "that is not this program's place";
    }
    if (refusal !== undefined || known === undefined) {
      connection.send(formatRefusal(refusal ?? ""));
      return;
    }
    const client = { ...known, connection };
    this.#clients.set(slot, client);
    this.#attach(client, []);
    this.#log.debug({ pid, command: client.command, slot }, "program came back");
  }

  #reasonAgainst(connection: Connection, build: string): string | undefined {
    if (this.#find(connection)) return "this connection has joined already";
    if (build === BUILD_HASH_TEXT) return undefined;
    return `exasockd is of build ${BUILD_HASH_TEXT}, the library of build ${build}`;
  }

  #find(connection: Connection): Client | undefined {
    return this.list().find((client) => client.connection === connection);
  }

  /** Answers `queues`. */
  sendQueues(connection: Connection): void {
    const client = this.#find(connection);
    if (client) this.#attach(client, []);
    else connection.send(formatRefusal("join first"));
  }

  #attach(client: Client, fds: readonly number[]): void {
    const queues = this.#attachments.queues();
    const all = [...fds, ...queues.map((queue) => queue.fd)];
    const slots = queues.map((queue) => queue.slot);
    const text = formatAttachment(client.slot, this.#region.bytes, all.length, slots);
    client.connection?.send(text, all);
  }

  /** The connection is about to close: a program has ended, or another one took its place. */
  leave(connection: Connection): void {
    const client = this.#find(connection);
    if (client) this.#remove(client);
  }

  #remove(client: Client): void {
    const { pid, command, slot } = client;
    this.#clients.delete(slot);
    if (native().coreBury() === 1) {
      this.#log.warn({ pid, command }, "a program died in the stack: repaired");
    }
    this.#region.stack.clientRemove(slot);
    this.#log.debug({ pid, command, slot }, "program left");
    this.#onChange();
  }
}
