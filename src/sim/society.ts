// Processes on a simulated host: they hold sockets together, by fork and by passing them on, and
// end at any time. The kernel tells exasockd when nobody holds a socket any more, and exasockd
// tells the stack, some time later, or when there is an exasockd again.

import { CLIENT_BYTES, CLIENTS_OFFSET, ClientView, MAX_CLIENTS } from "../../build/gen/layout.ts";
import type { End } from "./end.ts";
import type { Program } from "./programs.ts";
import { acceptEach } from "./transfer.ts";
import type { SimHost } from "./world.ts";

/** From the end of a process to exasockd's call, at most. */
const NOTICE_NANOS_MAX = 1e9;
const BACKLOG = 64;

/** A socket with everybody who has a descriptor of it. */
export interface Held {
  readonly index: number;
  readonly cookie: bigint;
  readonly holders: Set<Process>;
  /** What is done with it, as long as anybody holds it. */
  readonly programs: (() => void)[];
  /** Of a connection. */
  readonly end?: End;
  /** Of a listener. */
  readonly port?: number;
}

export interface Process {
  readonly pid: number;
  /** Its slot in the region. */
  client: number;
  readonly holds: Set<Held>;
}

export class Society {
  readonly node: SimHost;
  readonly alive = new Set<Process>();
  readonly listeners = new Set<Held>();
  /** Cookies that somebody holds, or that exasockd has yet to hear of. */
  readonly #known = new Set<bigint>();
  /** What exasockd will do; undefined while there is one. */
  #missed: (() => void)[] | undefined;
  #born = 0;
  /** The node's own waiter says that it is this client's. */
  readonly #own: number;

  constructor(node: SimHost) {
    this.node = node;
    this.#own = node.host.calls.clientAdd(1 << 30);
  }

  /** What exasockd does when it has heard of something. */
  #notice(work: () => void): void {
    const { clock, random } = this.node;
    clock.after(random.magnitude(1000, NOTICE_NANOS_MAX), () => {
      if (this.#missed) this.#missed.push(work);
      else work();
      this.node.activity();
    });
  }

  #join(): number {
    const { node } = this;
    const { calls } = node.host;
    this.#born += 1;
    const client = calls.clientAdd(this.#born);
    if (client <= 0) node.fail(`process ${this.#born} can't join: ${client}`);
    const waiter = calls.waiterAdd(client);
    if (waiter <= 0) node.fail(`process ${this.#born} gets no waiter`);
    if (node.random.chance(0.5)) calls.waiterArm(waiter, node.random.word64(), 0);
    return client;
  }

  birth(): Process {
    const client = this.#join();
    const process: Process = { pid: this.#born, client, holds: new Set() };
    this.alive.add(process);
    return process;
  }

  /** One more descriptor. */
  hold(process: Process, held: Held): Held {
    process.holds.add(held);
    held.holders.add(process);
    this.#known.add(held.cookie);
    return held;
  }

  /** One descriptor fewer; the last one ends the socket, though exasockd hears of it later. */
  drop(process: Process, held: Held): void {
    const { sockets, callTime } = this.node;
    process.holds.delete(held);
    held.holders.delete(process);
    if (held.holders.size > 0) return;
    for (const stop of held.programs) stop();
    this.listeners.delete(held);
    if (held.end) {
      held.end.conversation.mayFail = true;
      held.end.out.isFinished = true;
    }
    if (held.port !== undefined) this.#abandon(held.port);
    this.#notice(() => {
      this.#known.delete(held.cookie);
      if (sockets.isOpen(held.index, held.cookie)) sockets.close(held.index, callTime());
    });
  }

  /** A connection is over for all who hold it: what was to be done with it is done. */
  close(held: Held): void {
    for (const holder of held.holders) holder.holds.delete(held);
    held.holders.clear();
    this.#known.delete(held.cookie);
    if (held.end && !held.end.isClosed) held.end.close();
  }

  /** Who has not been accepted at this port never will be. */
  #abandon(port: number): void {
    const { ledger, address } = this.node;
    for (const conversation of ledger.all()) {
      const { server, isAccepted } = conversation;
      if (server.address !== address || server.port !== port || isAccepted) continue;
      conversation.mayFail = true;
    }
  }

  /** exit(2), or SIGKILL: all the same to the others. */
  death(process: Process): void {
    this.alive.delete(process);
    for (const held of [...process.holds]) this.drop(process, held);
    const { client } = process;
    this.#notice(() => this.node.host.calls.clientRemove(client));
  }

  fork(parent: Process): Process {
    const child = this.birth();
    for (const held of parent.holds) if (this.node.random.chance(0.8)) this.hold(child, held);
    return child;
  }

  /** What is close-on-exec goes, and the new image joins anew. */
  exec(process: Process): void {
    const { random, host } = this.node;
    for (const held of [...process.holds]) if (random.chance(0.5)) this.drop(process, held);
    const { client } = process;
    this.#notice(() => host.calls.clientRemove(client));
    process.client = this.#join();
  }

  /** The process is the first to hold this connection. */
  adopt(process: Process, end: End): Held {
    const { index } = end;
    const { cookie } = this.node.sockets.socketAt(index);
    return this.hold(process, { index, cookie, holders: new Set(), programs: [], end });
  }

  listen(process: Process, port: number, serve: (held: Held) => Program): void {
    const { node } = this;
    const index = node.sockets.create();
    const result = node.sockets.listen(index, { address: "0.0.0.0", port }, BACKLOG);
    if (result !== 0) node.fail(`listen: ${result}`);
    const { cookie } = node.sockets.socketAt(index);
    const listener: Held = { index, cookie, holders: new Set(), programs: [], port };
    this.hold(process, listener);
    this.listeners.add(listener);
    const handOver = (end: End) => {
      // Whoever of the holders is first.
      const held = this.adopt(node.random.pick([...listener.holders]), end);
      this.run(held, `server at ${port}`, serve(held));
    };
    this.run(listener, `listener ${port}`, acceptEach(node, index, port, handOver));
  }

  /** Does something with a socket until it is done, or nobody holds the socket. */
  run(held: Held, title: string, program: Program): void {
    held.programs.push(this.node.spawn(title, program, true));
  }

  /** exasockd is killed: what it would hear of is heard by the next one. */
  loseDaemon(): void {
    this.#missed ??= [];
  }

  /** The next one takes over: the lock, if its predecessor died with it, and what it missed. */
  takeOver(): void {
    const missed = this.#missed ?? [];
    this.#missed = undefined;
    if (this.node.random.chance(0.5)) this.node.host.calls.regionRecover();
    for (const work of missed) work();
    this.node.activity();
  }

  /** Every socket with a cookie is somebody's. */
  checkHeld(): void {
    for (const { index, socket } of this.node.checker.connections()) {
      const { cookie } = socket;
      if (cookie !== 0n && !this.#known.has(cookie)) this.node.fail(`socket ${index} is nobody's`);
    }
  }

  /** Nobody is left, and nothing of anybody. */
  checkNobody(): void {
    const { node } = this;
    for (let slot = 1; slot < MAX_CLIENTS; slot++) {
      const { pid } = new ClientView(node.host.view, CLIENTS_OFFSET + slot * CLIENT_BYTES);
      if (pid !== 0 && slot !== this.#own) node.fail(`client slot ${slot} is left`);
    }
    const { sleepers } = node.host.header;
    if (sleepers !== 1) node.fail(`${sleepers} sleepers, not just ours`);
    if (this.#known.size !== 0) node.fail(`${this.#known.size} sockets are still held`);
  }
}
