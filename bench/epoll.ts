// What epoll_wait costs with one ready socket of more and more, against the kernel's.

import { Network } from "../src/lab/network.ts";
import { compileProgram } from "../test/support/compile.ts";
import { accelerated, control } from "../test/support/exasock.ts";
import { median, type Section } from "./report.ts";

const MEMBERS = [10, 100, 1000, 10_000, 100_000];
const WAITS = 20_000;
const ROUNDS = 3;
/** Descriptors that the program may have. */
const NUMBERS = 16_000;
/** What one ready of the most may cost, of what one of the fewest does. */
const GROWTH_MAX = 1.5;

export async function measureEpoll(): Promise<Section> {
  await using network = await Network.create();
  const host = network.host("left");
  await control(host, "up", host.interfaceName);
  const program = await compileProgram("bench/epoll.c");
  const samples = new Map<string, number[]>();
  for (let round = 0; round < ROUNDS; round++) {
    for (const members of MEMBERS) {
      process.stderr.write(`epoll: round ${round + 1} of ${ROUNDS}, ${members} members\n`);
      const command = [program, host.address, String(members), String(WAITS)];
      for (const [who, words] of [
        ["kernel", command],
        ["exasock", accelerated(command, ["--require"])],
      ] as const) {
        const { stdout } = await host.run(["prlimit", `--nofile=${NUMBERS}`, ...words]);
        const key = `${members} ${who}`;
        samples.set(key, [...(samples.get(key) ?? []), Number(stdout)]);
      }
    }
  }
  const nanos = (members: number, who: string) => median(samples.get(`${members} ${who}`) ?? []);
  const [fewest = 0, most = 0] = [MEMBERS[0], MEMBERS.at(-1)];
  const growth = (who: string) => nanos(most, who) / nanos(fewest, who);
  const figures = MEMBERS.flatMap((members) => [
    { name: `one ready of ${members}, kernel`, value: nanos(members, "kernel"), unit: "ns" },
    { name: `one ready of ${members}, exasock`, value: nanos(members, "exasock"), unit: "ns" },
  ]);
  return {
    title: "epoll_wait with one ready socket of many",
    method: [
      "bench/epoll.c: UDP sockets in one set, up to 8,000 of their own, and these again under",
      `other numbers; medians of ${WAITS} waits, then of ${ROUNDS} runs in turns. The datagram`,
      "comes from the program itself.",
    ],
    figures: [
      ...figures,
      { name: `${most} against ${fewest}, kernel`, value: growth("kernel"), unit: "x" },
      {
        name: `${most} against ${fewest}, exasock`,
        value: growth("exasock"),
        unit: "x",
        limit: GROWTH_MAX,
      },
    ],
  };
}
