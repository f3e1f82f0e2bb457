// Someone always pumps: a waiting program does so itself. exasockd looks every few milliseconds
// whether anybody does, and sleeps on the AF_XDP sockets only while nobody else does: waking it
// would cost every packet a wake-up that a spinning program does not need.

import { native, type Watch, watch } from "./native.ts";
import type { Region } from "./region.ts";

const TICK_MILLIS = 10;
/** A timer that is so much overdue is nobody's: whoever sleeps as leader does not know of it. */
const OVERDUE_NANOS = 5_000_000n;
const NEVER = 0xffffffffffffffffn;
/** A leader that left work lying (stopped, or starved of CPU) is not relied on for so long. */
const DISTRUST_TICKS = 100;

export class Pump {
  readonly #region: Region;
  #fds: readonly number[] = [];
  #watches: Watch[] = [];
  #watching = false;
  #timer: NodeJS.Timeout | undefined;
  /** header.pollEpoch at the last tick. */
  #epoch = 0;
  /** Calls of poll() by ourselves since then. */
  #ownPolls = 0;
  /** There are programs. */
  #active = false;
  /** Whether there was work to do at the last tick. */
  #hadWork = false;
  /** Ticks for which no leader is relied on. */
  #distrust = 0;

  constructor(region: Region) {
    this.#region = region;
  }

  /** The AF_XDP sockets of all queues; called again when they change. */
  setQueues(fds: readonly number[]): void {
    for (const one of this.#watches) native().watchClose(one);
    this.#fds = fds;
    this.#watches = this.#fds.map((fd) => watch(fd, () => this.pump()));
    this.#watching = true;
    if (this.#timer === undefined) this.#setWatching(false);
  }

  /**
   * Pumps while there are programs, and until the connections that they left are over: without
   * either nothing is steered to the stack.
   */
  setActive(active: boolean): void {
    this.#active = active;
    const needed = active || this.hasTimers;
    if (needed === (this.#timer !== undefined)) return;
    if (needed) {
      this.#timer = setInterval(() => this.#tick(), TICK_MILLIS);
      this.#epoch = this.#region.header.pollEpoch;
      this.#ownPolls = 0;
    } else {
      clearInterval(this.#timer);
      this.#timer = undefined;
      this.#setWatching(false);
      this.pump();
    }
  }

  /** Timers may run now that did not: the last program may be gone before its sockets are. */
  check(): void {
    this.setActive(this.#active);
  }

  /** A timer of a connection runs. */
  get hasTimers(): boolean {
    return this.#region.header.nextTimerNanos !== NEVER;
  }

  #isDue(afterNanos: bigint): boolean {
    return this.#region.header.nextTimerNanos < process.hrtime.bigint() - afterNanos;
  }

  /** Handles what the rings hold, and timers. */
  pump(): void {
    if (this.#region.stack.hasWork() === 0 && !this.#isDue(0n)) return;
    this.#ownPolls += this.#region.pump();
  }

  /** True while exasockd is the one that pumps. */
  get isWatching(): boolean {
    return this.#watching;
  }

  #tick(): void {
    const { header } = this.#region;
    const epoch = header.pollEpoch;
    const others = (epoch - this.#epoch - this.#ownPolls) >>> 0 !== 0;
    this.#ownPolls = 0;
    this.#epoch = epoch;
    const work = this.#region.stack.hasWork() !== 0;
    if (others) this.#distrust = 0;
    else if (work && this.#hadWork) this.#distrust = DISTRUST_TICKS;
    else if (this.#distrust > 0) this.#distrust--;
    const served = others || (this.#region.hasLeader && this.#distrust === 0);
    this.#hadWork = work && served;
    this.#setWatching(!served);
    if (served && !this.#isDue(OVERDUE_NANOS)) return;
    this.pump();
    if (!this.#active) this.setActive(false);
    this.#epoch = header.pollEpoch;
    this.#ownPolls = 0;
  }

  #setWatching(on: boolean): void {
    if (this.#watching === on) return;
    this.#watching = on;
    for (const one of this.#watches) {
      if (on) native().watchStart(one);
      else native().watchStop(one);
    }
  }

  close(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    for (const one of this.#watches) native().watchClose(one);
    this.#watches = [];
  }
}
