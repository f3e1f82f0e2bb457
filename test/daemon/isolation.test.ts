// Whoever may not use a stack gets nothing of it, and can't spoil it for those who may.

import assert from "node:assert/strict";
import { ftruncateSync } from "node:fs";
import { test } from "node:test";
import { check, native } from "../../src/daemon/native.ts";
import { Network } from "../../src/lab/network.ts";
import { Program, run } from "../../src/lab/program.ts";
import { assertServes, startEcho } from "../support/echo.ts";
import { status } from "../support/exasock.ts";
import { skipWithoutRoot } from "../support/privilege.ts";

const AS_NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
const options = { skip: skipWithoutRoot };

/** Asks exasockd to be let in, and says what came. */
const JOIN = `
import socket, sys
control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
control.settimeout(3)
control.connect("\\0exasock/default")
control.send(sys.argv[1].encode())
text, ancillary, flags, _ = control.recvmsg(65536, 4096)
print(text.decode().strip(), len(ancillary), "messages with descriptors")
`;

test("the region's file keeps its size, whoever has a descriptor of it", () => {
  const fd = check(native().memfdCreate("exasock-test", 65536), "memfd_create");
  try {
    for (const bytes of [0, 65536 - 4096, 1 << 20]) {
      assert.throws(() => ftruncateSync(fd, bytes), { code: "EPERM" });
    }
  } finally {
    native().close(fd);
  }
});

test("a user outside the group gets a reason and no descriptor", options, async () => {
  await using network = await Network.create();
  const left = network.host("left");
  const server = await startEcho(left);
  const build = (await status(left))?.build ?? "";
  const requests = [
    JSON.stringify({ type: "join", build, pid: 1 }),
    JSON.stringify({ type: "rejoin", build, slot: 1 }),
    JSON.stringify({ type: "queues" }),
    JSON.stringify({ type: "stop" }),
    JSON.stringify({ type: "down", interfaces: [] }),
  ];
  for (const request of requests) {
    const command = [...AS_NOBODY, "/usr/bin/python3", "-c", JOIN, request];
    const { stdout } = await run(left.command(command));
    assert.match(stdout, /only root|not this program's place/, request);
    assert.match(stdout, / 0 messages with descriptors/, request);
  }
  // Nor can it look into a program that has it.
  const { pid } = (await status(left))?.programs[0] ?? { pid: 0 };
  const look = new Program(left.command([...AS_NOBODY, "ls", `/proc/${pid}/fd`]));
  assert.notEqual((await look.waitForExit()).code, 0);
  await assertServes(server, network.host("right"));
});

test("names that an outsider took before are no trap", options, async () => {
  await using network = await Network.create();
  const [left, right] = [network.host("left"), network.host("right")];
  // Every name that exasockd, or a sleeper of a program, is going to want first.
  const script = [
    "import socket, sys",
    "taken = []",
    'for name in ["bell/%d" % n for n in range(1, 8)]:',
    "    taken.append(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))",
    '    taken[-1].bind("\\0exasock/default/" + name)',
    'print("taken", flush=True)',
    "sys.stdin.read()",
  ];
  const squatter = left.start([...AS_NOBODY, "/usr/bin/python3", "-c", script.join("\n")]);
  await squatter.waitForOutput("taken\n");
  const server = await startEcho(left);
  await assertServes(server, right);
  squatter.kill();
  await squatter.waitForExit();
});
