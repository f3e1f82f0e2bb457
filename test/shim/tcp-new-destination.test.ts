// The first connection to a destination: whether the stack can reach it is not known yet, and is
// waited for. No scenario here: each run needs an exasockd that knows nothing.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Network } from "../../src/lab/network.ts";
import { startAccelerated, status } from "../support/exasock.ts";
import { skipWithoutRoot } from "../support/privilege.ts";

const SERVER = "import socket; s = socket.create_server(('', 7070)); print('ready', flush=True)\n";
const SERVE = `${SERVER}while True: s.accept()[0].sendall(b'hello')`;

function client(address: string, isBlocking: boolean): string {
  const start = "import select, socket; s = socket.socket(); ";
  const connect = isBlocking
    ? `s.connect(('${address}', 7070))`
    : `s.setblocking(False); s.connect_ex(('${address}', 7070)); ` +
      "select.select([], [s], []); select.select([s], [], [])";
  return `${start}${connect}; print(s.recv(100))`;
}

for (const wait of ["sleep", "adaptive", "spin"]) {
  for (const isBlocking of [true, false]) {
    const kind = isBlocking ? "blocking" : "non-blocking";
    const name = `the first ${kind} connect is the stack's, waiting by --wait=${wait}`;
    test(name, { skip: skipWithoutRoot }, async () => {
      await using network = await Network.create();
      const [left, right] = [network.host("left"), network.host("right")];
      await using server = right.start(["python3", "-u", "-c", SERVE]);
      await server.waitForOutput("ready");
      const command = ["python3", "-c", client(right.address, isBlocking)];
      await using program = startAccelerated(left, command, { options: [`--wait=${wait}`] });
      const { stdout, stderr } = await program.waitForExit();
      assert.deepEqual([stdout, stderr], ["b'hello'\n", ""]);
      assert.equal((await status(left))?.counters.tcpActiveOpens, 1);
    });
  }
}
