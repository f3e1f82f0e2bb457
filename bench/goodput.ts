// What TCP gets through a cable that loses one frame in a hundred, at a round trip of 20 ms:
// exasock's CUBIC against Linux's, at the same time on networks of their own: both mostly wait.

import { stream } from "../src/lab/iperf3.ts";
import { Network } from "../src/lab/network.ts";
import { accelerated, control, status } from "../test/support/exasock.ts";
import type { Section } from "./report.ts";

const LOSS = 0.01;
const ONE_WAY_MICROS = 10_000;
const SECONDS = 30;
const WARM_UP_SECONDS = 3;
/** Many connections at a time: how a single one fares depends on which of its frames are lost. */
const CONNECTIONS = 16;
/** Within a tenth of Linux's. */
const KERNEL_RATIO_MAX = 1 / 0.9;
const MEGA = 1e6;
const PORT = 5201;

const plain = (command: readonly string[]) => command;

async function play(name: string, isSender: boolean, isReceiver: boolean): Promise<number> {
  const impairment = { seed: 5, loss: LOSS, delayMicros: ONE_WAY_MICROS };
  await using network = await Network.create({ impairment });
  const [server, client] = [network.host("left"), network.host("right")];
  for (const [host, isUsed] of [
    [server, isReceiver],
    [client, isSender],
  ] as const) {
    if (isUsed) await control(host, "up", host.interfaceName);
  }
  process.stderr.write(`goodput: ${name}\n`);
  const fast = (command: readonly string[]) => accelerated(command, ["--wait=sleep", "--require"]);
  const rate = await stream({
    ...{ server, client, port: PORT, seconds: SECONDS, warmUpSeconds: WARM_UP_SECONDS },
    options: ["-P", String(CONNECTIONS), "-C", "cubic"],
    wrapServer: isReceiver ? fast : plain,
    wrapClient: isSender ? fast : plain,
  });
  const counters = isSender ? (await status(client))?.counters : undefined;
  if (isSender && !counters?.txSegments) throw new Error("the sender did not use the stack");
  return rate / MEGA;
}

export async function measureGoodput(): Promise<Section> {
  const [kernel = Number.NaN, toKernel = Number.NaN, both = Number.NaN] = await Promise.all([
    play("kernel at both ends", false, false),
    play("exasock to kernel", true, false),
    play("exasock at both ends", true, true),
  ]);
  const unit = "Mbit/s";
  const limit = KERNEL_RATIO_MAX;
  return {
    title: `Goodput of CUBIC with ${LOSS * 100} % loss at a round trip of 20 ms`,
    method: [
      `iperf3 -C cubic, ${CONNECTIONS} connections, ${SECONDS} s after ${WARM_UP_SECONDS} s, over the`,
      "bad cable of native/lab/impair.c: what is lost is lost both ways. All at the same time.",
    ],
    figures: [
      { name: "kernel at both ends", value: kernel, unit },
      { name: "exasock to kernel", value: toKernel, unit },
      { name: "exasock at both ends", value: both, unit },
      { name: "kernel / exasock to kernel", value: kernel / toKernel, unit: "x", limit },
      { name: "kernel / exasock at both ends", value: kernel / both, unit: "x", limit },
    ],
  };
}
