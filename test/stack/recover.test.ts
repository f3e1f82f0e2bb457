// A program is killed at any host call, and at any store, while it holds the lock: the call throws,
// as if the process had stopped there, and recovery has to leave a region whose invariants hold.

import assert from "node:assert/strict";
import { test } from "node:test";
import { regionBreaches } from "../../src/core/region-checks.ts";
import { ET, EXCLUSIVE, epollOf, IN, INNER, OUT } from "./epoll-machine.ts";
import { createMachine, LOCAL, type Machine, PEER } from "./machine.ts";
import { KILLS_MAX, killedAt, mortal, PROBED } from "./mortal.ts";
import { udpDatagram } from "./packets.ts";

const start = () =>
  mortal((host) => createMachine({ frameCount: 512, fillTarget: 64, host, module: PROBED }));

const actions: Record<string, (machine: Machine, socket: number) => void> = {
  "while it polls": (machine) => machine.calls.poll(5n, 64),
  "while it sends": (machine, socket) => machine.send(socket, Uint8Array.of(1, 2, 3)),
  "while it sends to its own host": (machine, socket) => {
    machine.send(socket, Uint8Array.of(1, 2, 3), { host: LOCAL, port: 1236 });
  },
  "while it receives": (machine, socket) => machine.receive(socket),
  "while it uses epoll sets": useEpoll,
  "while it reaps completions": (machine, socket) => {
    machine.calls.socketSetOption(socket, 19, 1);
    machine.send(socket, Uint8Array.of(1));
    machine.calls.poll(6n, 64);
  },
};

/** Everything that is done with an epoll set, with what the others have in theirs. */
function useEpoll(machine: Machine, socket: number): void {
  const epoll = epollOf(machine);
  const [set, outer] = [epoll.create(1), epoll.create(1)];
  epoll.add(set, 5, socket, IN | OUT | EXCLUSIVE);
  epoll.add(outer, 6, set, IN, INNER);
  epoll.wait(outer);
  machine.calls.poll(7n, 64);
  epoll.wait(set, 1);
  machine.calls.epollFork(1);
  machine.calls.epollDelete(set, 5, socket, 0);
  machine.calls.epollClose(set, 1);
  machine.calls.epollClose(outer, 1);
}

function prepare(machine: Machine): { socket: number; other: number } {
  const socket = machine.bound(LOCAL, 1234);
  const client = machine.calls.clientAdd(99);
  const epoll = epollOf(machine);
  const set = epoll.create(client);
  epoll.add(set, 3, socket, IN | OUT | ET);
  epoll.sleeperIn(set, client);
  machine.connect(socket, 1234, PEER, 4000);
  const other = machine.bound("0.0.0.0", 1235);
  machine.bound(LOCAL, 1236);
  machine.send(socket, Uint8Array.of(0));
  machine.resolveAll();
  for (let n = 0; n < 3; n++) {
    machine.deliver(udpDatagram({ payload: Uint8Array.of(n) }));
    machine.deliver(udpDatagram({ payload: Uint8Array.of(n), destinationPort: 1235 }));
  }
  machine.poll();
  for (let n = 0; n < 3; n++) machine.send(socket, Uint8Array.of(n));
  machine.transmitted();
  for (let n = 3; n < 6; n++) machine.deliver(udpDatagram({ payload: Uint8Array.of(n) }));
  return { socket, other };
}

for (const [what, action] of Object.entries(actions)) {
  test(`killed anywhere ${what}: after recovery nothing is lost and others go on`, () => {
    let kills = 0;
    for (let n = 0; n < KILLS_MAX; n++) {
      const { made: machine, life } = start();
      const { socket, other } = prepare(machine);
      if (!killedAt(life, n, () => action(machine, socket))) break;
      kills += 1;
      // Whoever repairs may be killed, too.
      killedAt(life, n, () => machine.calls.regionRecover());
      machine.calls.regionRecover();
      assert.deepEqual(regionBreaches(machine.view), []);
      const { queued } = machine.census();
      assert.ok(queued >= 5, `only ${queued} datagrams are left`);
      machine.poll();
      machine.census();
      const got: (number | undefined)[] = [];
      for (let it = machine.receive(other); it; it = machine.receive(other))
        got.push(it.payload[0]);
      assert.deepEqual(got, [0, 1, 2], "another program's queue is whole");
      machine.deliver(udpDatagram({ destinationPort: 1235, payload: Uint8Array.of(9) }));
      machine.poll();
      assert.equal(machine.receive(other)?.payload[0], 9);
      machine.transmitted();
      machine.poll();
      machine.calls.socketSetOption(socket, 19, 4096);
      assert.equal(machine.send(socket, Uint8Array.of(1)), 1);
      assert.ok(machine.header.recoveries >= 1n);
      machine.census();
    }
    assert.ok(kills > 0 && kills < KILLS_MAX, `killed ${kills} times`);
  });
}

test("recovery of a healthy region changes nothing that can be seen", () => {
  const { made: machine } = start();
  const { socket, other } = prepare(machine);
  machine.poll();
  const before = machine.census();
  machine.calls.regionRecover();
  assert.deepEqual(machine.census(), before);
  for (let n = 0; n < 6; n++) assert.equal(machine.receive(socket)?.payload[0], n);
  assert.equal(machine.receive(other)?.payload[0], 0);
  assert.equal(machine.send(socket, Uint8Array.of(1)), 1);
});
