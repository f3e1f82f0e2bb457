// What fork costs a program with many accelerated sockets, against the same with the kernel's.

import { Network } from "../src/lab/network.ts";
import { compileProgram } from "../test/support/compile.ts";
import { accelerated, control } from "../test/support/exasock.ts";
import { median, type Section } from "./report.ts";

const SOCKETS = 1000;
const FORKS = 100;
const ROUNDS = 5;
const MORE_MICROS_MAX = 1000;
const WHAT = [
  "fork returns",
  "a child that does nothing has ended",
  "a child that looks has ended",
];

export async function measureForks(): Promise<Section> {
  await using network = await Network.create();
  const host = network.host("left");
  await control(host, "up", host.interfaceName);
  const program = await compileProgram("bench/forks.c");
  const command = [program, host.address, String(SOCKETS), String(FORKS)];
  // A thousand sockets, and what the library has besides.
  const roomy = (words: readonly string[]) => ["prlimit", `--nofile=${4 * SOCKETS}`, ...words];
  const contenders = [roomy(command), roomy(accelerated(command, ["--require"]))] as const;
  const samples = contenders.map(() => WHAT.map((): number[] => []));
  for (let round = 0; round < ROUNDS; round++) {
    for (const [index, contender] of contenders.entries()) {
      process.stderr.write(`forks: round ${round + 1} of ${ROUNDS}\n`);
      const { stdout } = await host.run(contender);
      stdout.split(" ").forEach((nanos, what) => {
        samples[index]?.[what]?.push(Number(nanos) / 1000);
      });
    }
  }
  const figures = WHAT.flatMap((name, what) => {
    const [kernel = 0, exasock = 0] = samples.map((own) => median(own[what] ?? []));
    return [
      { name: `${name}, kernel`, value: kernel, unit: "µs" },
      { name: `${name}, exasock`, value: exasock, unit: "µs" },
      // A child that uses a socket joins the stack: that is not fork's price.
      ...(what < 2
        ? [{ name: "  more", value: exasock - kernel, unit: "µs", limit: MORE_MICROS_MAX }]
        : []),
    ];
  });
  return {
    title: `fork of a process with ${SOCKETS} sockets`,
    method: [
      `bench/forks.c: ${SOCKETS} bound UDP sockets; medians of ${FORKS} forks, then of ${ROUNDS} runs`,
      "in turns. `looks` is one recv() that finds nothing; under exasock the child then joins.",
    ],
    figures,
  };
}
