// How much one host gets from another by iperf3, for the benchmarks.

import type { Host } from "./network.ts";

const PORT = 5201;

export interface Stream {
  server: Host;
  client: Host;
  /** Seconds of sending; those before are not counted. */
  seconds: number;
  warmUpSeconds: number;
  /** Options of the client, such as -P 8 for several connections. */
  options: readonly string[];
  /** Make commands run in the way that is measured. */
  wrapServer: (command: readonly string[]) => readonly string[];
  wrapClient: (command: readonly string[]) => readonly string[];
}

interface Report {
  end: { sum_received: { bits_per_second: number } };
}

/** What the client sends to the server arrives at this rate, in bits per second. */
export async function stream(game: Stream): Promise<number> {
  const { server, client, seconds, warmUpSeconds, options } = game;
  const serve = ["iperf3", "-s", "-1", "-B", server.address, "-p", String(PORT)];
  const limitMillis = (seconds + warmUpSeconds + 30) * 1000;
  await using running = server.start(game.wrapServer(serve), { limitMillis });
  await server.waitForTcpPort(PORT);
  const times = ["-t", String(seconds), "-O", String(warmUpSeconds)];
  const target = ["-c", server.address, "-p", String(PORT), ...times, "--json"];
  const ask = game.wrapClient(["iperf3", ...target, ...options]);
  const { stdout } = await client.run(ask, { limitMillis });
  await running.waitForExit();
  return (JSON.parse(stdout) as Report).end.sum_received.bits_per_second;
}
