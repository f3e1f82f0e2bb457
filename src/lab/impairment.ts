// A bad cable between two hosts: native/lab/impair.c, which forwards frames in a namespace of its
// own, and what it is told. What happens to which frame follows from a seed and the frame's number
// among those of IPv4; other frames are only delayed.

import { readFileSync } from "node:fs";
import { fromRoot } from "../build/paths.ts";
import type { Host } from "./network.ts";
import type { Program } from "./program.ts";

const PROGRAM = fromRoot("build/impair");
/** The program takes shares as parts of this. */
const WHOLE = 2 ** 32;
const REORDER_MICROS = 500;
const QUEUE_BYTES = 256 * 1024;
/** USER_HZ: what /proc counts processor time in. */
const CLOCK_TICKS_PER_SECOND = 100;

/** What happens to frames, on both ways alike. Shares lie between 0 and 1. */
export interface Impairment {
  seed?: number;
  loss?: number;
  duplicate?: number;
  /** The share of frames that are held back for a while, so that others overtake them. */
  reorder?: number;
  reorderMicros?: number;
  /** Of each way: half of what it adds to a round trip. */
  delayMicros?: number;
  /** At most so much more delay, by chance. */
  jitterMicros?: number;
  /** Bits per second; 0 is no limit. */
  rateBits?: number;
  /** What may wait for the limited rate; more is dropped. */
  queueBytes?: number;
}

/** Frames of one way. received + duplicated = lost + overflowed + sent + what waits. */
export interface WayCounters {
  received: number;
  lost: number;
  duplicated: number;
  reordered: number;
  /** Found no room. */
  overflowed: number;
  sent: number;
  /** Still on its way when the counters were read. */
  waiting: number;
}

/** The frames of both ways since the last time that the cable was set. */
export interface CableCounters {
  forth: WayCounters;
  back: WayCounters;
}

function wayCounters(numbers: readonly number[]): WayCounters {
  const [received = 0, lost = 0, duplicated = 0, reordered = 0, overflowed = 0, sent = 0] = numbers;
  return { received, lost, duplicated, reordered, overflowed, sent, waiting: numbers[6] ?? 0 };
}

function settingsLine(impairment: Impairment): string {
  const {
    seed = 1,
    loss = 0,
    duplicate = 0,
    reorder = 0,
    reorderMicros = REORDER_MICROS,
  } = impairment;
  const { delayMicros = 0, jitterMicros = 0, rateBits = 0, queueBytes = QUEUE_BYTES } = impairment;
  const shares = [loss, duplicate, reorder].map((share) => share * WHOLE);
  const nanos = [reorderMicros, delayMicros, jitterMicros].map((micros) => micros * 1000);
  const numbers = [seed, ...shares, ...nanos, rateBits, queueBytes];
  return `set ${numbers.map((one) => Math.round(one)).join(" ")}\n`;
}

/** A running bad cable. It ends with its namespace. */
export class BadCable {
  readonly #program: Program;
  #lines = 0;

  private constructor(program: Program) {
    this.#program = program;
  }

  /** Starts forwarding between two interfaces of a host; resolves when frames pass. */
  static async start(host: Host, interfaces: [string, string], impairment: Impairment) {
    const program = host.start([PROGRAM, ...interfaces], { limitMillis: 2 ** 31 - 1 });
    const cable = new BadCable(program);
    await cable.set(impairment);
    return cable;
  }

  /** From now on, with the random numbers' beginning; returns what was counted until now. */
  set(impairment: Impairment): Promise<CableCounters> {
    return this.#tell(settingsLine(impairment));
  }

  /** What was counted since it was set. */
  counters(): Promise<CableCounters> {
    return this.#tell("count\n");
  }

  async #tell(text: string): Promise<CableCounters> {
    this.#program.write(text);
    const line = this.#lines++;
    const complete = () => this.#program.stdout.split("\n").length > this.#lines;
    await this.#program.waitFor("counters", complete);
    const numbers = this.#program.stdout.split("\n")[line]?.split(" ").map(Number) ?? [];
    const half = numbers.length / 2;
    return { forth: wayCounters(numbers.slice(0, half)), back: wayCounters(numbers.slice(half)) };
  }

  /** Processor time that forwarding has taken so far, in seconds. */
  get processorSeconds(): number {
    const stat = readFileSync(`/proc/${this.#program.pid}/stat`, "utf8");
    const [user, system] = stat
      .slice(stat.lastIndexOf(")") + 2)
      .split(" ")
      .slice(11, 13);
    return (Number(user) + Number(system)) / CLOCK_TICKS_PER_SECOND;
  }
}
