// `npm run bench [-- latency|instructions|memory …]`: measures and prints tables. Exit status 1
// when a limit is not kept.

import { cpus, release } from "node:os";
import { removeLeftOverNamespaces } from "../src/lab/network.ts";
import { measureInstructions } from "./instructions.ts";
import { measureLatency } from "./latency.ts";
import { measureMemory } from "./memory.ts";
import { isKept, render, type Section } from "./report.ts";

const ROUNDS = 9;
const SECONDS = 1;

const MEASUREMENTS: Record<string, () => Promise<Section>> = {
  latency: () => measureLatency({ rounds: ROUNDS, seconds: SECONDS }),
  instructions: measureInstructions,
  memory: measureMemory,
};

async function main(names: readonly string[]): Promise<number> {
  const chosen = names.length > 0 ? names : Object.keys(MEASUREMENTS);
  const unknown = chosen.filter((name) => !MEASUREMENTS[name]);
  if (unknown.length > 0) {
    const known = Object.keys(MEASUREMENTS).join(", ");
    console.error(`bench: no measurement ${unknown.join(", ")}; there are ${known}`);
    return 2;
  }
  removeLeftOverNamespaces();
  console.log(`# ${cpus().length} x ${cpus()[0]?.model.trim()}, Linux ${release()}\n`);
  let isAllKept = true;
  for (const name of chosen) {
    const section = await MEASUREMENTS[name]?.();
    if (!section) continue;
    isAllKept &&= section.figures.every(isKept);
    console.log(render(section));
    console.log(`    npm run bench -- ${name}\n`);
  }
  return isAllKept ? 0 : 1;
}

process.exitCode = await main(process.argv.slice(2));
