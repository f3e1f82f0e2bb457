// Programs on a simulated host: generators that yield what they wait for.

import type { Clock } from "./clock.ts";

/** A condition that the stack announces when it becomes true: it wakes who sleeps on the socket. */
export interface SocketWait {
  socket: number;
  isReady: () => boolean;
}

/** What a program waits for: a condition, or so many nanoseconds. */
export type Wait = SocketWait | (() => boolean) | number;
export type Program = Generator<Wait, void, void>;

/** Thrown through a program that is killed; it ends there. */
export class Killed extends Error {}

/** A program that goes on this often without time passing is in a circle. */
const STEPS_MAX = 200_000;

interface Running {
  name: string;
  program: Program;
  isReady: (() => boolean) | undefined;
  /** Interest bits (socket modulo 64) that must have been notified by then; 0 none. */
  needed: bigint;
  /** Interest bits that were notified while it waits. */
  heard: bigint;
  isServer: boolean;
}

/** What the program waits for next; one that was killed is done. */
function nextOf(program: Program): IteratorResult<Wait, void> {
  try {
    return program.next();
  } catch (error) {
    if (error instanceof Killed) return { done: true, value: undefined };
    throw error;
  }
}

export interface ProgramsSetup {
  clock: Clock;
  fail: (message: string) => never;
  /** Called when a program has slept enough. */
  wake: () => void;
  /** Interest bits that the stack has notified since the last call. */
  takeNotified: () => bigint;
}

export type Programs = ReturnType<typeof createPrograms>;

/** The programs of one host. */
export function createPrograms({ clock, fail, wake, takeNotified }: ProgramsSetup) {
  let running: Running[] = [];

  function waitFor(one: Running, wait: Wait): void {
    one.needed = 0n;
    one.heard = 0n;
    if (typeof wait === "number") {
      const until = clock.now() + wait;
      one.isReady = () => clock.now() >= until;
      clock.at(until, wake);
    } else if (typeof wait === "function") {
      one.isReady = wait;
    } else {
      one.isReady = wait.isReady;
      // What is true already needs no announcement.
      if (!wait.isReady()) one.needed = 1n << BigInt(wait.socket & 63);
    }
  }

  /** Hands what was notified since the last time to everybody who waits. */
  function hear(): void {
    const notified = takeNotified();
    if (notified === 0n) return;
    for (const one of running) one.heard |= notified;
  }

  /** Lets a program go on until it has to wait. True if it did anything; then it may be over. */
  function resume(one: Running): boolean {
    let steps = 0;
    for (hear(); !one.isReady || one.isReady(); hear()) {
      if ((one.needed & ~one.heard) !== 0n) fail(`${one.name} would have slept on: not woken`);
      steps += 1;
      if (steps > STEPS_MAX) fail(`${one.name} goes round in a circle`);
      const { done, value } = nextOf(one.program);
      if (done) {
        running = running.filter((other) => other !== one);
        return true;
      }
      hear();
      waitFor(one, value);
    }
    return steps > 0;
  }

  /** Lets every program go on that can; false when none could. */
  function resumeAll(): boolean {
    let hasRun = false;
    // One may end another.
    for (const one of [...running]) if (running.includes(one) && resume(one)) hasRun = true;
    return hasRun;
  }

  return {
    /** Returns a function that ends the program where it is. */
    add: (name: string, program: Program, isServer: boolean): (() => void) => {
      const one = { name, program, isReady: undefined, needed: 0n, heard: 0n, isServer };
      running.push(one);
      return () => {
        running = running.filter((other) => other !== one);
      };
    },
    resumeAll,
    /** Ends every program where it is. */
    stop: () => {
      running = [];
    },
    /** Names of the programs that are not done, servers aside. */
    unfinished: () => running.filter((one) => !one.isServer).map((one) => one.name),
  };
}
