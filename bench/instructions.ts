// Instructions per packet of the stack as the preload library has it, counted by callgrind. The
// program under test (instructions.c) is linked from the very object files of libexasock.so.

import { readdirSync } from "node:fs";
import { resolve } from "node:path";
import { run } from "../src/lab/program.ts";
import { compileProgram, ROOT } from "../test/support/compile.ts";
import type { Figure, Section } from "./report.ts";

const PACKETS = 9984;
const INSTRUCTIONS_MAX = 300;
const CORE_OBJECTS = resolve(ROOT, "build/obj/core");

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

async function compile(): Promise<string> {
  const objects = readdirSync(CORE_OBJECTS).filter((name) => name.endsWith(".o"));
  return await compileProgram("bench/instructions.c", [
    "-D_GNU_SOURCE",
    `-I${resolve(ROOT, "build/gen")}`,
    `-isystem${resolve(ROOT, "build")}`,
    `-I${resolve(ROOT, "native/core")}`,
    ...objects.map((name) => resolve(CORE_OBJECTS, name)),
    "-lpthread",
    // valgrind of Debian 12 can't read the debug information of its clang.
    "-Wl,--strip-debug",
  ]);
}

async function count(program: string, one: Case): Promise<number> {
  const { direction, batch, isVirtual, packets = PACKETS, only = ["measured"] } = one;
  const { stderr } = await run([
    ...["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"],
    "--collect-atstart=no",
    ...only.map((name) => `--toggle-collect=${name}`),
    ...[program, direction, String(packets), String(batch), isVirtual ? "1" : "0"],
  ]);
  const collected = /Collected : (\d+)/.exec(stderr);
  if (!collected) throw new Error(`valgrind counted nothing: ${stderr}`);
  return Number(collected[1]) / packets;
}

export async function measureInstructions(): Promise<Section> {
  const program = await compile();
  const figures: Figure[] = [];
  for (const one of CASES) {
    process.stderr.write(`instructions: ${one.name}\n`);
    const limit = one.limit === undefined ? {} : { limit: one.limit };
    figures.push({ name: one.name, value: await count(program, one), unit: "instr.", ...limit });
  }
  return {
    title: "Instructions per packet (64 bytes of payload)",
    method: [
      `valgrind --tool=callgrind --toggle-collect=measured build/test/instructions, ${PACKETS} packets.`,
      "For sending: the stack's own, counted in udpReserve and udpSubmit.",
    ],
    figures,
  };
}
