// What the preload library costs a process that it is loaded into: private memory, start-up time.

import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { type Host, Network } from "../src/lab/network.ts";
import { run } from "../src/lab/program.ts";
import { compileProgram, ROOT } from "../test/support/compile.ts";
import { compileCalls, startAccelerated, status } from "../test/support/exasock.ts";
import { Libc } from "../test/support/libc.ts";
import { sockaddrBytes } from "../test/support/memory.ts";
import { median, quantile, type Section } from "./report.ts";

const LIBRARY = resolve(ROOT, "build/libexasock.so");
const PRIVATE_MIB_MAX = 4;
const STARTUP_MILLIS_MAX = 2;
const STARTS_PER_ROUND = 50;
const ROUNDS = 20;
const DATAGRAMS = 1000;

/** Private pages of a process in KiB: what it has for itself alone. */
function privateKib(pid: number): number {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  const lines = [...text.matchAll(/^Private_(?:Clean|Dirty): +(\d+) kB$/gm)];
  return lines.reduce((sum, line) => sum + Number(line[1]), 0);
}

/** A process with one bound socket that has sent and received; its private memory. */
async function afterTraffic(host: Host, isAccelerated: boolean): Promise<number> {
  const file = await compileCalls();
  await using program = isAccelerated ? startAccelerated(host, [file]) : host.start([file]);
  const libc = new Libc(program);
  await libc.ready();
  const { result: fd } = await libc.call("socket", [2, 2, 0]);
  await libc.call("bind", [fd, libc.put(sockaddrBytes({ address: host.address, port: 0 })), 16]);
  const to = libc.put(sockaddrBytes({ address: host.attachment.peerAddress, port: 9 }));
  for (let i = 0; i < DATAGRAMS; i++) await libc.call("sendto", [fd, to, 16, 0, to, 16]);
  if (isAccelerated && !(await status(host))?.counters.txDatagrams) {
    throw new Error("nothing was sent by the stack");
  }
  return privateKib(program.pid);
}

async function withoutSockets(host: Host, isPreloaded: boolean): Promise<number> {
  const environment = isPreloaded ? { LD_PRELOAD: LIBRARY } : {};
  await using program = host.start(["sh", "-c", "exec cat"], { environment });
  program.write("ready\n");
  await program.waitForOutput("ready");
  return privateKib(program.pid);
}

/** Milliseconds that starting and ending `true` takes, many times over. */
async function startMillis(preload: string): Promise<number> {
  const program = await compileProgram("bench/spawn.c");
  const { stdout } = await run([program, String(STARTS_PER_ROUND), preload, "/bin/true"]);
  return Number(stdout) / 1e6;
}

export async function measureMemory(): Promise<Section> {
  await using network = await Network.create();
  const host = network.host("left");
  process.stderr.write("memory: with and without the library\n");
  const idle = (await withoutSockets(host, true)) - (await withoutSockets(host, false));
  const busy = (await afterTraffic(host, true)) - (await afterTraffic(host, false));
  const differences: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    process.stderr.write(`start-up: round ${round + 1} of ${ROUNDS}\n`);
    const plain = await startMillis("");
    differences.push((await startMillis(LIBRARY)) - plain);
  }
  return {
    title: "What the library costs a process",
    method: [
      "Private pages of /proc/PID/smaps_rollup, against the same program without the library.",
      `Start-up: ${ROUNDS} rounds of ${STARTS_PER_ROUND} starts of /bin/true each with and without.`,
    ],
    figures: [
      {
        name: "private memory, no socket opened",
        value: idle / 1024,
        unit: "MiB",
        limit: PRIVATE_MIB_MAX,
      },
      {
        name: `private memory, one socket, ${DATAGRAMS} datagrams`,
        value: busy / 1024,
        unit: "MiB",
        limit: PRIVATE_MIB_MAX,
      },
      {
        name: "start-up of a process that opens no socket, median",
        value: median(differences),
        unit: "ms",
        limit: STARTUP_MILLIS_MAX,
      },
      { name: "start-up, 90 %", value: quantile(differences, 0.9), unit: "ms" },
    ],
  };
}
