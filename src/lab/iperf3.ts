// How much one host gets from another by iperf3, for the benchmarks.

import type { Host } from "./network.ts";

export interface Stream {
  server: Host;
  client: Host;
  /** Where the server is, if not at its host's address. */
  address?: string;
  port: number;
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
  end: { sum_received?: { bits_per_second: number } };
}

/** What the client sends to the server arrives at this rate, in bits per second. */
export async function stream(game: Stream): Promise<number> {
  const { server, client, port, seconds, warmUpSeconds, options } = game;
  const address = game.address ?? server.address;
  const serve = ["iperf3", "-s", "-1", "-B", address, "-p", String(port)];
  const limitMillis = (seconds + warmUpSeconds + 30) * 1000;
  await using running = server.start(game.wrapServer(serve), { limitMillis });
  await server.waitForTcpPort(port);
  const times = ["-t", String(seconds), "-O", String(warmUpSeconds)];
  const target = ["-c", address, "-p", String(port), ...times, "--json"];
  const ask = game.wrapClient(["iperf3", ...target, ...options]);
  const { stdout } = await client.run(ask, { limitMillis });
  await running.waitForExit();
  const rate = (JSON.parse(stdout) as Report).end.sum_received?.bits_per_second;
  if (rate === undefined) throw new Error(`iperf3 measured nothing: ${stdout}`);
  return rate;
}
