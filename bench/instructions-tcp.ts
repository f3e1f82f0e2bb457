// Instructions per TCP segment of the stack as the preload library has it; see instructions-tcp.c.

import { compileOnCore, countInstructions } from "./callgrind.ts";
import type { Figure, Section } from "./report.ts";

const SEGMENTS = 6400;
const BATCH = 32;
const FULL_BYTES = 1448;
const SMALL_BYTES = 64;
const RECEIVE_MAX = 700;
const SEND_MAX = 600;

interface Step {
  name: string;
  functions: string[];
  limit?: number;
}

const RECEIVE: Step = {
  name: "received in order, with its share of ACKs",
  functions: ["measured_receive"],
  limit: RECEIVE_MAX,
};
const SEND: Step = { name: "sent", functions: ["measured_send"], limit: SEND_MAX };
const TAKE: Step = { name: "taken from the receive queue", functions: ["measured_consume"] };
const ACKNOWLEDGED: Step = {
  name: "acknowledged, at its sender",
  functions: ["measured_acknowledged"],
};

/** Payload bytes, whether checksums are left unfinished as veth does, and what is counted. */
const CASES: readonly (readonly [number, boolean, readonly Step[]])[] = [
  [FULL_BYTES, true, [RECEIVE, SEND, TAKE, ACKNOWLEDGED]],
  [FULL_BYTES, false, [RECEIVE, SEND]],
  [SMALL_BYTES, true, [RECEIVE, SEND, TAKE, ACKNOWLEDGED]],
  [SMALL_BYTES, false, [RECEIVE, SEND]],
];

export async function measureTcpInstructions(): Promise<Section> {
  const program = await compileOnCore("bench/instructions-tcp.c");
  const figures: Figure[] = [];
  for (const [bytes, isUnfinished, steps] of CASES) {
    for (const { name, functions, limit } of steps) {
      const what = `${name}, ${bytes} bytes${isUnfinished ? "" : ", checksum by the stack"}`;
      process.stderr.write(`instructions: ${what}\n`);
      const args = [SEGMENTS, BATCH, bytes, isUnfinished ? 1 : 0].map(String);
      const value = (await countInstructions([program, ...args], functions)) / SEGMENTS;
      figures.push({ name: what, value, unit: "instr.", ...(limit ? { limit } : {}) });
    }
  }
  return {
    title: "Instructions per TCP data segment",
    method: [
      `valgrind --tool=callgrind on build/test/instructions-tcp: ${SEGMENTS} segments, ${BATCH} at a`,
      "time, between two sockets of the stack. The copying of the payload is not counted.",
    ],
    figures,
  };
}
