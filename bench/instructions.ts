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
}

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
    batch: 1,
    isVirtual: true,
    limit: INSTRUCTIONS_MAX,
  },
  { name: "sendto to TX ring", direction: "sendto", batch: 1, isVirtual: true, limit: 300 },
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

async function count(program: string, { direction, batch, isVirtual }: Case): Promise<number> {
  const { stderr } = await run([
    ...["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"],
    ...["--collect-atstart=no", "--toggle-collect=measured"],
    ...[program, direction, String(PACKETS), String(batch), isVirtual ? "1" : "0"],
  ]);
  const collected = /Collected : (\d+)/.exec(stderr);
  if (!collected) throw new Error(`valgrind counted nothing: ${stderr}`);
  return Number(collected[1]) / PACKETS;
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
      "The lock, its release and the copy of the payload that is sent are included.",
    ],
    figures,
  };
}
