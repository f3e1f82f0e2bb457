import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { formatTable, paint } from "../../src/cli/output.ts";
import { formatDuration, formatStatus, wordsOf } from "../../src/cli/status-view.ts";
import type { Status } from "../../src/daemon/status.ts";

const PLAIN = { color: false };

describe("tables", () => {
  it("line numbers up at the right and names at the left", () => {
    assert.deepEqual(
      formatTable([
        ["NAME", "COUNT", "ADDRESS"],
        ["a", "5", "10.0.0.1:7"],
        ["longer", "12345", "10.0.0.10:70"],
      ]),
      ["NAME    COUNT  ADDRESS", "a           5  10.0.0.1:7", "longer  12345  10.0.0.10:70"],
    );
  });

  it("have no spaces at their ends", () => {
    assert.deepEqual(
      formatTable([
        ["A", "B"],
        ["x", ""],
      ]),
      ["A  B", "x"],
    );
  });
});

describe("colour", () => {
  it("is used only where wanted", () => {
    assert.equal(paint({ color: false }, "fail", "x"), "x");
    assert.equal(paint({ color: true }, "fail", "x"), "\x1b[31mx\x1b[0m");
  });
});

describe("durations", () => {
  it("show their two largest units", () => {
    const shown = [0, 59, 60, 3599, 7325, 90061].map(formatDuration);
    const expected = ["0 s", "59 s", "1 min 0 s", "59 min 59 s", "2 h 2 min", "1 d 1 h"];
    assert.deepEqual(shown, expected);
  });
});

describe("the status for people", () => {
  const status: Status = {
    ok: true,
    pid: 42,
    stack: "default",
    build: "0123456789abcdef",
    uptimeSeconds: 61,
    region: { bytes: 256 << 20, frameBytes: 2048, frames: 8192, freeFrames: 6144 },
    pumping: true,
    endsHeard: true,
    interfaces: [],
    unusable: [{ name: "eth1", reason: "no such interface" }],
    programs: [],
    sockets: [],
    socketCount: 0,
    counters: { rxFrames: 7, rxDropUdpChecksum: 0 },
  };

  it("says so when nothing happens", () => {
    assert.deepEqual(formatStatus(status, PLAIN), [
      'exasockd 42, stack "default", build 0123456789abcdef, up 1 min 1 s',
      "region 256 MiB, 8192 frames of 2048 bytes, 2048 in use",
      "",
      "no interface is in use",
      "eth1: not used: no such interface",
      "",
      "no program uses the stack",
    ]);
  });

  it("lists sockets with their programs, and losses only where there are any", () => {
    const socket = {
      ...{ cookie: "9", protocol: 17, state: "bound", local: "*:7", remote: "", pid: 77 },
      ...{ queuedDatagrams: 1, queuedBytes: 9, receiveBufferBytes: 0, keptFrames: 0, sendBytes: 0 },
      ...{ received: 3, drops: 2, sent: 4, sentViaKernel: 0 },
    };
    const orphan = { ...socket, pid: 0, local: "*:8" };
    const lines = formatStatus(
      {
        ...status,
        programs: [{ pid: 77, uid: 0, command: "nc", slot: 1 }],
        sockets: [socket, orphan],
        socketCount: 5,
        counters: { rxFrames: 7, rxDropUdpChecksum: 3, rxDropNoSocket: 0, txNoFrames: 1 },
      },
      PLAIN,
    );
    assert.deepEqual(lines.slice(5), [
      "",
      "PID  UID  PROGRAM",
      " 77    0  nc",
      "",
      "PROTO  STATE  LOCAL  REMOTE  WAITING  RX  TX  VIA-KERNEL  DROPS  PID  PROGRAM",
      "udp    bound  *:7    -             1   3   4           0      2  77   nc",
      "udp    bound  *:8    -             1   3   4           0      2  -    -",
      "and 3 more sockets",
      "",
      "LOST OR REFUSED       COUNT",
      "rx drop udp checksum      3",
      "tx no frames              1",
    ]);
  });

  it("reads counters' names as words", () => {
    assert.equal(wordsOf("rxDropUdpChecksum"), "rx drop udp checksum");
  });
});
