// iperf3 as client and as server, sending and receiving, one stream and several.

import { type Scene, scenario } from "../../support/scenario.ts";

const PORT = 5201;
const MIB = 1 << 20;
const MEBIBYTES = 32;
const SEGMENTS_MIN = (MEBIBYTES * MIB) / 1500 / 4;

interface Report {
  end: {
    sum_sent: { bytes: number };
    sum_received: { bytes: number };
    streams: unknown[];
  };
}

/** One transfer; `tested` says on which end iperf3 is accelerated. */
async function measure(
  scene: Scene,
  tested: "client" | "server" | "both",
  args: readonly string[],
): Promise<void> {
  const [serverHost, clientHost] = tested === "client" ? ["right", "left"] : ["left", "right"];
  const { address } = scene.host(serverHost);
  const server = scene.launch(["iperf3", "-s", "-1", "-B", address, "-p", String(PORT)], {
    host: serverHost,
    accelerated: tested !== "client",
  });
  await scene.host(serverHost).waitForTcpPort(PORT);
  const target = ["-c", address, "-p", String(PORT), "-n", `${MEBIBYTES}M`, "--json"];
  const client = scene.launch(["iperf3", ...target, ...args], {
    host: clientHost,
    accelerated: tested !== "server",
  });
  const { stdout } = await client.waitForSuccess();
  const { end } = JSON.parse(stdout) as Report;
  // The receiver stops to count while the last of it is on its way.
  const { sum_sent: sent, sum_received: received, streams } = end;
  const isLikely = received.bytes > 0 && received.bytes <= sent.bytes;
  scene.note("client", `${streams.length} streams, ${isLikely ? "likely" : JSON.stringify(end)}`);
  const { code } = await server.waitForExit();
  scene.note("server", `ended with ${code}`);
}

for (const tested of ["client", "server", "both"] as const) {
  for (const [way, args] of [
    ["sends to the server", []],
    ["receives from the server", ["-R"]],
    ["sends in four streams", ["-P", "4"]],
    ["sends and receives at a time", ["--bidir"]],
  ] as const) {
    const who = tested === "both" ? "client and server" : tested;
    scenario(`the client ${way}, ${who} accelerated`, (scene) => measure(scene, tested, args), {
      bypass: { connections: 2, segments: SEGMENTS_MIN },
    });
  }
}
