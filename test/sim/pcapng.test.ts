import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { type Captured, pcapng } from "../../src/sim/pcapng.ts";
import { ipNumber, SYN, tcpPacket } from "../../src/sim/wire.ts";
import { temporaryFolder } from "../support/folder.ts";

const PLACES = ["client", "server down"];

function segment(sequence: number): Uint8Array {
  return tcpPacket({
    source: ipNumber("10.0.0.1"),
    destination: ipNumber("10.0.0.2"),
    sourcePort: 4000,
    destinationPort: 80,
    sequence,
    flags: SYN,
  });
}

const PACKETS: Captured[] = [
  { nanos: 1_000_000_000_000_001, place: 0, packet: segment(7) },
  { nanos: 1_000_000_000_500_000, place: 1, packet: segment(8), comment: "dropped: loss" },
];

describe("a capture", () => {
  it("is read by tshark: times to the nanosecond, places, comments, right checksums", async () => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, "two.pcapng");
    writeFileSync(file, pcapng(PLACES, PACKETS));
    const fields = ["frame.time_epoch", "frame.interface_name", "frame.comment", "tcp.seq_raw"];
    const checks = ["-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE"];
    const status = ["-e", "tcp.checksum.status", "-e", "ip.checksum.status"];
    const { stdout, stderr } = spawnSync(
      "tshark",
      ["-r", file, "-T", "fields", ...checks, ...fields.flatMap((one) => ["-e", one]), ...status],
      { encoding: "utf8" },
    );
    assert.deepEqual(
      stdout
        .trimEnd()
        .split("\n")
        .map((line) => line.split("\t")),
      [
        ["1000000.000000001", "client", "", "7", "1", "1"],
        ["1000000.000500000", "server down", "dropped: loss", "8", "1", "1"],
      ],
      stderr,
    );
  });
});
