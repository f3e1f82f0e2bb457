// The interfaces that the stack uses: chosen at the start, added and removed while running.

import { readFileSync, readlinkSync } from "node:fs";
import { basename } from "node:path";
import { parseInterface, type QueueRange } from "../cli/settings.ts";
import { INTERFACES_OFFSET, InterfaceView, MAX_INTERFACES } from "../../build/gen/layout.ts";
import { AcceleratedInterface, fdsOf } from "./accelerated-interface.ts";
import { chooseInterface, isVirtual } from "./interface-choice.ts";
import type { Logger } from "./log.ts";
import type { Link } from "./netlink/route.ts";
import { largestMtu } from "./options.ts";
import type { Region } from "./region.ts";
import type { Deposit } from "./vault.ts";

/** `eth0:2-3` without the queues. */
const nameOf = (text: string) => parseInterface(text)?.name ?? text;

/** The kernel's view, kept by the mirror. */
export interface LinkSource {
  readonly links: ReadonlyMap<number, Link>;
  hasAddress(ifindex: number): boolean;
}

/** Name of the device's driver; empty when unknown or when sysfs shows another namespace. */
export function driverOf(link: Link): string {
  const folder = `/sys/class/net/${link.name}`;
  try {
    if (Number(readFileSync(`${folder}/ifindex`, "utf8")) !== link.ifindex) return "";
    const mac = readFileSync(`${folder}/address`, "utf8").trim().replaceAll(":", "");
    if (mac !== link.mac.toString("hex")) return "";
    return basename(readlinkSync(`${folder}/device/driver`));
  } catch {
    return "";
  }
}

export class Interfaces {
  readonly #region: Region;
  readonly #source: LinkSource;
  readonly #log: Logger;
  readonly #active = new Map<number, AcceleratedInterface>();
  /** Names given by the user: used whatever their kind. And which of their queues, if not all. */
  readonly #named = new Map<string, QueueRange | undefined>();
  /** Whether all others that suit are used, too. */
  readonly #automatic: boolean;
  /** Names that the user took down: left alone until brought up again. */
  readonly #excluded = new Set<string>();
  /** Why an interface could not be used, by name: to say it once. */
  readonly #failures = new Map<string, string>();
  /** Set-ups and take-downs run one after the other. */
  #work: Promise<void> = Promise.resolve();
  readonly #onChange: () => void;

  constructor(
    region: Region,
    source: LinkSource,
    names: readonly string[],
    log: Logger,
    onChange: () => void,
  ) {
    this.#region = region;
    this.#source = source;
    for (const text of names) this.#name(text);
    this.#automatic = names.length === 0;
    this.#log = log;
    this.#onChange = onChange;
  }

  /**
   * Takes over what a dead exasockd left in the vault; `reconcile` then brings it up to date. Makes
   * no calls of the stack. Descriptors in the vault's order.
   */
  takeOver({ excluded, interfaces }: Deposit, fds: readonly number[]): void {
    for (const name of excluded) this.#excluded.add(name);
    let next = 0;
    for (const left of interfaces) {
      const own = fds.slice(next, next + fdsOf(left));
      next += own.length;
      const one = AcceleratedInterface.takeOver(this.#region, left, own);
      if (one) this.#active.set(left.ifindex, one);
    }
  }

  /** Removes what the dead exasockd was setting up or taking down. After `takeOver`. */
  dropHalfMade(): void {
    const { stack, view, header } = this.#region;
    const kept = new Set(this.queues().map(({ slot }) => slot));
    for (let slot = 0; slot < header.queueHigh; slot++) {
      if (!kept.has(slot)) stack.queueStop(slot);
    }
    const slots = new Set([...this.#active.values()].map((one) => one.slot));
    for (let slot = 0; slot < MAX_INTERFACES; slot++) {
      const one = new InterfaceView(view, INTERFACES_OFFSET + slot * InterfaceView.BYTES);
      if (one.ifindex !== 0 && !slots.has(slot)) stack.interfaceRemove(slot);
    }
  }

  /** For the vault. */
  get left(): Pick<Deposit, "excluded" | "interfaces"> {
    const interfaces = [...this.#active.values()].map((one) => one.left);
    return { excluded: [...this.#excluded], interfaces };
  }

  /** Descriptors for the vault, in its order. */
  get fds(): number[] {
    return [...this.#active.values()].flatMap((one) => one.fds);
  }

  /** Those in use, by kernel index. */
  get active(): ReadonlyMap<number, AcceleratedInterface> {
    return this.#active;
  }

  /** Why interfaces are not used, by name. */
  get failures(): ReadonlyMap<string, string> {
    return this.#failures;
  }

  /** Descriptors of all AF_XDP sockets with the slots of their queues, ascending. */
  queues(): { slot: number; fd: number }[] {
    return [...this.#active.values()]
      .flatMap((one) => one.queues.map(({ fd, place }) => ({ slot: place.slot, fd })))
      .sort((left, right) => left.slot - right.slot);
  }

  /** Makes what is used what should be used; called at start and after every link change. */
  reconcile(): Promise<void> {
    return this.#enqueue(() => this.#reconcile());
  }

  /** Tries again what could not be used: a program of a dead exasockd may have let go meanwhile. */
  retryFailed(): void {
    if (this.#failures.size > 0) void this.reconcile();
  }

  /** Uses these interfaces from now on; an empty list undoes every `down`. */
  async up(names: readonly string[]): Promise<void> {
    if (names.length === 0) this.#excluded.clear();
    for (const name of names) {
      this.#excluded.delete(this.#name(name));
    }
    await this.reconcile();
    const failed = names.map(nameOf).find((name) => this.#failures.has(name));
    if (failed !== undefined) throw new Error(`${failed}: ${this.#failures.get(failed)}`);
  }

  /** Notes that the user wants this interface, or some queues of it. Returns its name. */
  #name(text: string): string {
    const request = parseInterface(text);
    this.#named.set(nameOf(text), request?.queues);
    return nameOf(text);
  }

  /** Stops using these interfaces; all of them when the list is empty. */
  async down(texts: readonly string[], programs: number): Promise<void> {
    const names = texts.map(nameOf);
    const active = [...this.#active.values()];
    const going = active.filter(({ link }) => names.length === 0 || names.includes(link.name));
    const unknown = names.find((name) => !active.some(({ link }) => link.name === name));
    if (unknown !== undefined) throw new Error(`${unknown} is not used by this stack`);
    const busy = going.find((one) => one.zeroCopy);
    if (busy && programs > 0) {
      // The card would go on writing into frames that the stack has given to somebody else: the
      // programs' descriptors keep the sockets alive.
      throw new Error(`${busy.link.name} is in zero-copy mode and ${programs} programs use it`);
    }
    for (const { link } of going) this.#excluded.add(link.name);
    await this.reconcile();
  }

  /** Gives all interfaces back. */
  close(): Promise<void> {
    return this.#enqueue(async () => {
      for (const ifindex of [...this.#active.keys()]) this.#take(ifindex, "stopping");
    });
  }

  #enqueue(task: () => Promise<void>): Promise<void> {
    const done = this.#work.then(task);
    this.#work = done.catch(() => {});
    return done;
  }

  async #reconcile(): Promise<void> {
    for (const [ifindex, one] of [...this.#active]) {
      const link = this.#source.links.get(ifindex);
      if (link === undefined) {
        this.#take(ifindex, "it is gone");
      } else if (this.#excluded.has(link.name)) {
        this.#take(ifindex, "asked to");
      } else if (link.mtu > this.#largestMtu) {
        this.#take(ifindex, `its MTU became ${link.mtu}`);
      } else if (link !== one.link) {
        one.update(link);
      }
    }
    for (const link of this.#source.links.values()) {
      if (!this.#active.has(link.ifindex)) await this.#tryOpen(link);
    }
    for (const name of this.#named.keys()) {
      const exists = [...this.#source.links.values()].some((link) => link.name === name);
      if (!exists && !this.#excluded.has(name)) this.#fail(name, "no such interface");
    }
  }

  get #largestMtu(): number {
    return largestMtu(this.#region.header.frameBytes);
  }

  async #tryOpen(link: Link): Promise<void> {
    const { name } = link;
    const named = this.#named.has(name);
    if (this.#excluded.has(name) || (!this.#automatic && !named)) return;
    const choice = chooseInterface(link, {
      named,
      hasAddress: this.#source.hasAddress(link.ifindex),
      largestMtu: this.#largestMtu,
    });
    if (!choice.usable) {
      if (named || choice.remarkable) this.#fail(name, choice.reason);
      return;
    }
    try {
      const virtual = isVirtual(link, driverOf(link));
      const running = this.queues().length;
      const wanted = this.#named.get(name);
      const opened = await AcceleratedInterface.open(this.#region, link, virtual, running, wanted);
      this.#active.set(link.ifindex, opened);
      this.#failures.delete(name);
      const { mode, nativeProblem, zeroCopy, queues } = opened;
      const problem = nativeProblem === "" ? {} : { nativeProblem };
      this.#log.info(
        { name, mode, ...problem, zeroCopy, queues: queues.length },
        "interface in use",
      );
      this.#onChange();
    } catch (error) {
      this.#fail(name, (error as Error).message);
    }
  }

  #fail(name: string, reason: string): void {
    if (this.#failures.get(name) === reason) return;
    this.#failures.set(name, reason);
    this.#log.warn({ name, reason }, "interface can't be used");
  }

  #take(ifindex: number, reason: string): void {
    const one = this.#active.get(ifindex);
    if (one === undefined) return;
    this.#active.delete(ifindex);
    // Before the descriptors close: an event loop must not be left watching them.
    this.#onChange();
    one.close();
    // After, too: only now do the programs see that the queues have changed.
    this.#onChange();
    this.#log.info({ name: one.link.name, reason }, "interface given back");
  }
}
