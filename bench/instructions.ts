// Instructions per packet of UDP in the stack as the preload library has it; see instructions.c.

import { compileOnCore, countInstructions } from "./callgrind.ts";
import type { Figure, Section } from "./report.ts";

const PACKETS = 9984;
const INSTRUCTIONS_MAX = 300;

interface Case {
  name: string;
  direction: "receive" | "send" | "sendto";
  /** Packets that one poll finds, or datagrams sent before the card takes them. */
  batch: number;
  isVirtual: boolean;
  limit?: number;
  packets?: number;
  /** Functions to count, with what they call; the whole of measured() otherwise. */
  only?: string[];
}

/** As many as fit into the TX ring: none is completed, so none is taken back meanwhile. */
const UNCOMPLETED = 1920;
/** What a send asks of the stack itself. */
const SEND_EXPORTS = ["w2c_stack_udpReserve", "w2c_stack_udpSubmit"];

const CASES: Case[] = [
  {
    name: "frame to socket queue, 64 per poll, veth",
    direction: "receive",
    batch: 64,
    isVirtual: true,
    limit: INSTRUCTIONS_MAX,
  },
  {
    name: "frame to socket queue, 64 per poll, checksum verified",
    direction: "receive",
    batch: 64,
    isVirtual: false,
    limit: INSTRUCTIONS_MAX,
  },
  {
    name: "frame to socket queue, alone in its poll, veth",
    direction: "receive",
    batch: 1,
    isVirtual: true,
  },
  {
    name: "send on a connected socket to TX ring",
    direction: "send",
    batch: UNCOMPLETED,
    isVirtual: true,
    limit: INSTRUCTIONS_MAX,
    packets: UNCOMPLETED,
    only: SEND_EXPORTS,
  },
  {
    name: "sendto to TX ring",
    direction: "sendto",
    batch: UNCOMPLETED,
    isVirtual: true,
    limit: INSTRUCTIONS_MAX,
    packets: UNCOMPLETED,
    only: SEND_EXPORTS,
  },
  {
    name: "sendto, with lock, copy and the taking back of what was sent",
    direction: "sendto",
    batch: 1,
    isVirtual: true,
  },
];

export async function measureInstructions(): Promise<Section> {
  const program = await compileOnCore("bench/instructions.c");
  const figures: Figure[] = [];
  for (const one of CASES) {
    process.stderr.write(`instructions: ${one.name}\n`);
    const limit = one.limit === undefined ? {} : { limit: one.limit };
    const { direction, batch, isVirtual, packets = PACKETS, only = ["measured"] } = one;
    const args = [direction, packets, batch, isVirtual ? 1 : 0].map(String);
    const value = (await countInstructions([program, ...args], only)) / packets;
    figures.push({ name: one.name, value, unit: "instr.", ...limit });
  }
  return {
    title: "Instructions per UDP packet (64 bytes of payload)",
    method: [
      `valgrind --tool=callgrind --toggle-collect=measured build/test/instructions, ${PACKETS} packets.`,
      "For sending: the stack's own, counted in udpReserve and udpSubmit.",
    ],
    figures,
  };
}
