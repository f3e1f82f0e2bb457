// What an idle TCP connection costs in the region, beyond its kernel socket.

import { readdirSync, readlinkSync, statSync } from "node:fs";
import { type Host, Network } from "../src/lab/network.ts";
import { compileProgram } from "../test/support/compile.ts";
import { accelerated, control, status } from "../test/support/exasock.ts";
import type { Section } from "./report.ts";

const CONNECTIONS = 10_000;
const PORT = 6001;
const REGION_BYTES_MAX = 2048;
const BLOCK_BYTES = 512;
const LIMIT_MILLIS = 120_000;

interface Use {
  /** Memory that the region has been given so far. */
  bytes: number;
  freeFrames: number;
  connections: number;
}

/** The region is a memfd of exasockd's: pages that nobody has touched are not there. */
async function use(host: Host): Promise<Use> {
  const now = await status(host);
  if (!now) throw new Error(`no exasockd on ${host.name}`);
  const folder = `/proc/${now.pid}/fd`;
  const region = readdirSync(folder)
    .map((fd) => `${folder}/${fd}`)
    .find((path) => {
      return readlinkSync(path).startsWith("/memfd:") && statSync(path).size === now.region.bytes;
    });
  if (!region) throw new Error(`exasockd of ${host.name} has no region`);
  const { tcpActiveOpens = 0, tcpPassiveOpens = 0 } = now.counters;
  return {
    bytes: statSync(region).blocks * BLOCK_BYTES,
    freeFrames: now.region.freeFrames,
    connections: tcpActiveOpens + tcpPassiveOpens,
  };
}

export async function measureIdle(): Promise<Section> {
  await using network = await Network.create();
  const [server, client] = [network.host("left"), network.host("right")];
  for (const host of [server, client]) await control(host, "up", host.interfaceName);
  const program = await compileProgram("bench/connections.c");
  const where = [server.address, String(PORT), String(CONNECTIONS)];
  const before = [await use(server), await use(client)];
  process.stderr.write(`idle: ${CONNECTIONS} connections\n`);
  const limit = { limitMillis: LIMIT_MILLIS };
  const run = (role: string) => accelerated([program, role, ...where], ["--require"]);
  await using keeping = server.start(run("keep"), limit);
  await keeping.waitForOutput("ready\n");
  await using holding = client.start(run("hold"), limit);
  await holding.waitForOutput(`${CONNECTIONS} connections\n`, LIMIT_MILLIS);
  await keeping.waitForOutput(`${CONNECTIONS} connections\n`, LIMIT_MILLIS);
  const after = [await use(server), await use(client)];
  const figures = ["accepted", "opened"].flatMap((name, index) => {
    const rise = (field: keyof Use) => (after[index]?.[field] ?? 0) - (before[index]?.[field] ?? 0);
    if (rise("connections") < CONNECTIONS) throw new Error(`not all were ${name} by the stack`);
    return [
      {
        name: `region, per ${name} connection`,
        value: rise("bytes") / CONNECTIONS,
        unit: "bytes",
        limit: REGION_BYTES_MAX,
      },
      {
        name: `frames in use, per ${name} connection`,
        value: -rise("freeFrames") / CONNECTIONS,
        unit: "frames",
      },
    ];
  });
  return {
    title: `What each of ${CONNECTIONS} idle TCP connections costs`,
    method: [
      "Blocks of the region's memfd before and after bench/connections.c opened and kept them,",
      "with everything that was first touched meanwhile.",
    ],
    figures,
  };
}
