// `npm run bench [-- NAME …]`: measures and prints tables; `tcp` stands for all names that begin
// so. Exit status 1 when a limit is not kept.

import { cpus, release } from "node:os";
import { removeLeftOverNamespaces } from "../src/lab/network.ts";
import { measureBulk } from "./bulk.ts";
import { measureConnections } from "./connections.ts";
import { measureEpoll } from "./epoll.ts";
import { measureForks } from "./forks.ts";
import { measureGoodput } from "./goodput.ts";
import { measureIdle } from "./idle.ts";
import { measureInstructions } from "./instructions.ts";
import { measureTcpInstructions } from "./instructions-tcp.ts";
import { measureLatency } from "./latency.ts";
import { measureLocal } from "./local.ts";
import { measureMemory } from "./memory.ts";
import { isKept, render, type Section } from "./report.ts";
import { measureWaiting } from "./waiting.ts";

const ROUNDS = 9;
const SECONDS = 1;

const MEASUREMENTS: Record<string, () => Promise<Section>> = {
  latency: () => measureLatency({ protocol: "UDP", rounds: ROUNDS, seconds: SECONDS }),
  instructions: measureInstructions,
  memory: measureMemory,
  waiting: measureWaiting,
  forks: measureForks,
  epoll: measureEpoll,
  "tcp-latency": () => measureLatency({ protocol: "TCP", rounds: ROUNDS, seconds: SECONDS }),
  "tcp-bulk": measureBulk,
  "tcp-goodput": measureGoodput,
  "tcp-connections": measureConnections,
  "tcp-instructions": measureTcpInstructions,
  "tcp-idle": measureIdle,
  local: () => measureLocal(),
};

async function main(names: readonly string[]): Promise<number> {
  const all = Object.keys(MEASUREMENTS);
  const chosen =
    names.length === 0
      ? all
      : names.flatMap((name) => {
          return name === "tcp" ? all.filter((one) => one.startsWith("tcp-")) : [name];
        });
  const unknown = chosen.filter((name) => !MEASUREMENTS[name]);
  if (unknown.length > 0) {
    const known = all.join(", ");
    console.error(`bench: no measurement ${unknown.join(", ")}; there are ${known}`);
    return 2;
  }
  removeLeftOverNamespaces();
  console.log(`# ${cpus().length} x ${cpus()[0]?.model.trim()}, Linux ${release()}\n`);
  let isAllKept = true;
  for (const name of chosen) {
    try {
      const section = await MEASUREMENTS[name]?.();
      if (!section) continue;
      isAllKept &&= section.figures.every(isKept);
      console.log(render(section));
    } catch (error) {
      // What the others take is not to be lost.
      isAllKept = false;
      console.log(`## ${name} failed\n`);
      console.error(error);
    }
    console.log(`    npm run bench -- ${name}\n`);
  }
  return isAllKept ? 0 : 1;
}

process.exitCode = await main(process.argv.slice(2));
