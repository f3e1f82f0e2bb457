// The checker of the region's invariants finds what is planted.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  CLIENTS_OFFSET,
  COOKIES_OFFSET,
  EPOLL_CHAINS_OFFSET,
  FrameState,
  STEERING_OFFSET,
  WAITERS_OFFSET,
  WaiterView,
} from "../../build/gen/layout.ts";
import { regionBreaches } from "../../src/core/region-checks.ts";
import { EXCLUSIVE, epollOf, IN } from "./epoll-machine.ts";
import { createMachine, LOCAL, type Machine, PEER } from "./machine.ts";
import { udpDatagram } from "./packets.ts";

/** Two sockets of a program with a sleeping thread, and a datagram in the first one's queue. */
function busy() {
  const machine = createMachine();
  const client = machine.calls.clientAdd(77);
  const socket = machine.bound(LOCAL, 1234);
  machine.connect(socket, 1234, PEER, 4000);
  const other = machine.bound("0.0.0.0", 1235);
  machine.resolveAll();
  machine.deliver(udpDatagram({ payload: Uint8Array.of(1) }));
  machine.poll();
  const waiter = machine.calls.waiterAdd(client);
  machine.calls.waiterArm(waiter, 1n, 0);
  const epoll = epollOf(machine);
  const set = epoll.create(client);
  epoll.add(set, 3, socket, IN);
  const item = epoll.add(set, 4, other, IN | EXCLUSIVE);
  return { machine, socket, other, waiter, epoll, set, item };
}

type Busy = ReturnType<typeof busy>;

function firstWord(machine: Machine, offset: number): number {
  for (let at = offset; ; at += 4) if (machine.view.getUint32(at, true) !== 0) return at;
}

const damages: Record<string, [(region: Busy) => void, RegExp]> = {
  "a frame in the hands of nobody": [
    ({ machine, socket }) => {
      machine.frameMeta(machine.socket(socket).receiveHead - 1).state = FrameState.Held;
    },
    /a queued frame has state 1/,
  ],
  "a free frame that is not listed": [
    ({ machine }) => (machine.frameMeta(machine.header.freshFrames - 1).state = FrameState.Free),
    /frames: \d+ are free, \d+ are listed/,
  ],
  "a queue's count": [
    ({ machine, socket }) => machine.socket(socket).receiveCount++,
    /socket 1: 1 are queued, 2 counted/,
  ],
  "a queue's charge": [
    ({ machine, socket }) => machine.socket(socket).receiveBytes++,
    /socket 1: \d+ bytes are charged/,
  ],
  "a circle of frames": [
    ({ machine, socket }) => {
      const { receiveHead } = machine.socket(socket);
      machine.frameMeta(receiveHead - 1).next = receiveHead;
    },
    /socket 1: a queue of frames is a circle/,
  ],
  "frames posted, but not counted": [
    ({ machine }) => machine.queueView(0).posted--,
    /queue 0: \d+ posted/,
  ],
  "a socket that its cookie does not find": [
    ({ machine }) => machine.view.setUint32(firstWord(machine, COOKIES_OFFSET), 0, true),
    /cookies: socket \d is not found/,
  ],
  "a socket that packets do not find": [
    ({ machine, other }) => machine.socket(other).localPortNet++,
    /addresses: socket 2 is in chain/,
  ],
  "a steering key that is gone": [
    ({ machine }) => machine.view.setBigUint64(firstWord(machine, STEERING_OFFSET) & ~7, 0n, true),
    /steering: no key .* for/,
  ],
  "a steering key for nobody": [
    ({ machine }) => machine.view.setBigUint64(STEERING_OFFSET, 0x123400000600n, true),
    /steering: key 123400000600 is there for nobody/,
  ],
  "a thread of a program that is gone": [
    ({ machine }) => machine.view.setUint32(CLIENTS_OFFSET + 32, 0, true),
    /programs: waiter 1 is of client 1: gone/,
  ],
  "a sleeper that is not counted": [
    ({ machine }) => machine.header.sleepers--,
    /programs: 1 sleep, 0 are counted/,
  ],
  "an item that its socket does not know": [
    ({ machine, other }) => (machine.socket(other).items = 0),
    /epoll sets: target 2 has the items 2, its ring/,
  ],
  "an item that its set does not know": [
    ({ epoll, set, item }) => (epoll.set(set).items = epoll.item(item).setNext),
    /epoll sets: set 1 has the items 1,2, and lists 1/,
  ],
  "an item that is ready and not listed": [
    ({ epoll, set }) => (epoll.set(set).readyCount = 0),
    /epoll sets: set 1 lists 1 as ready, and counts 0/,
  ],
  "an exclusive item that is not counted": [
    ({ epoll, set }) => (epoll.set(set).exclusives = 0),
    /epoll sets: set 1: 1 items are exclusive/,
  ],
  "an item of a set that has ended": [
    ({ epoll, set }) => (epoll.set(set).references = 0),
    /epoll sets: item 1 is of set 1: gone/,
  ],
  "an item that cannot be found": [
    ({ machine }) => machine.view.setUint32(firstWord(machine, EPOLL_CHAINS_OFFSET), 0, true),
    /epoll sets: item \d is not in the table/,
  ],
  "a leader that is gone": [
    ({ machine, waiter }) => {
      const view = new WaiterView(machine.view, WAITERS_OFFSET + waiter * WaiterView.BYTES);
      view.state = 0;
      machine.header.sleepers--;
    },
    /programs: waiter 1 leads and is gone/,
  ],
};

test("a region without damage is sound", () => {
  assert.deepEqual(regionBreaches(busy().machine.view), []);
});

for (const [what, [damage, expected]] of Object.entries(damages)) {
  test(`it finds ${what}`, () => {
    const region = busy();
    damage(region);
    assert.match(regionBreaches(region.machine.view).join("\n"), expected);
  });
}
