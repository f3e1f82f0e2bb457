// The program of a packet script: its descriptors, and what a call came to.

import { patternByte, patternBytes } from "./flow.ts";
import type { Machine } from "./machine.ts";
import { ERRNO, errnoName } from "./symbols.ts";

/** An open socket. `index` is the stack's. */
export interface Descriptor {
  index: number;
  nonBlocking: boolean;
  boundPort: number | undefined;
  /** connect(2) was begun. */
  connecting: boolean;
  /** Bytes written and read so far: where the next ones lie in the pattern. */
  written: number;
  read: number;
}

/** What a call returned. */
export interface Outcome {
  result: number;
  errno?: string;
  /** What it wrote through pointers, when the script says what that must be. */
  outputs?: number[];
}

/** One try of a call; undefined: it would block. */
export type Attempt = () => Outcome | undefined;

export interface Program {
  machine: Machine;
  descriptors: Map<number, Descriptor>;
  /** Descriptor whose connection assertions are about: the last connected or accepted one. */
  subject: number | undefined;
  /** Positions of the peer's stream that were marked urgent: reads may leave them out. */
  urgent: Set<number>;
  /** Bytes that were read and are not what the peer sent. */
  wrongBytes: string[];
  /** The next port that connect(2) gives to a socket without one. */
  nextPort: number;
  onConnect: (peer: number, localPort: number) => void;
}

export function failure(errno: string): Outcome {
  return { result: -1, errno };
}

/** A stack's result, where negative is -errno, as libc has it. */
export function outcomeOf(result: number): Outcome {
  return result < 0 ? failure(errnoName(-result)) : { result };
}

export const isErrno = (result: number, name: string): boolean => result === -(ERRNO[name] ?? 0);

/** Data that a program writes: the pattern, from where it was. */
export function takePattern(descriptor: Descriptor, length: number): Uint8Array {
  return patternBytes(descriptor.written, length);
}

/** Looks whether received bytes are the peer's, urgent ones left out or not. */
export function checkRead(program: Program, fd: number, at: number, data: Uint8Array): number {
  let position = at;
  for (const [index, byte] of data.entries()) {
    while (byte !== patternByte(position) && program.urgent.has(position)) position += 1;
    if (byte !== patternByte(position)) {
      program.wrongBytes.push(`byte ${index} read from ${fd} is not byte ${position} of the peer`);
      break;
    }
    position += 1;
  }
  return position;
}
