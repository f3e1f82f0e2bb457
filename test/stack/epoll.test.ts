import assert from "node:assert/strict";
import { test } from "node:test";
import { Half } from "../../build/gen/layout.ts";
import { ERR, ET, EXCLUSIVE, epollOf, IN, INNER, ONESHOT, OUT } from "./epoll-machine.ts";
import { createMachine, LOCAL, type Machine, PEER } from "./machine.ts";
import { udpDatagram } from "./packets.ts";

const [EEXIST, ENOENT, EINVAL] = [-17, -2, -22];

function arrive(machine: Machine, port: number): void {
  machine.deliver(udpDatagram({ destinationPort: port }));
  machine.poll();
}

function start() {
  const machine = createMachine();
  const epoll = epollOf(machine);
  return { machine, epoll, set: epoll.create(), socket: machine.bound(LOCAL, 1234) };
}

test("level-triggered: reported as long as it is true", () => {
  const { machine, epoll, set, socket } = start();
  epoll.add(set, 3, socket, IN);
  assert.deepEqual(epoll.wait(set), []);
  arrive(machine, 1234);
  assert.deepEqual(epoll.wait(set), ["3:1"]);
  assert.deepEqual(epoll.wait(set), ["3:1"]);
  machine.receive(socket);
  assert.deepEqual(epoll.wait(set), []);
  assert.equal(epoll.set(set).readyCount, 0, "and looked at no more");
});

test("edge-triggered: reported once for each arrival", () => {
  const { machine, epoll, set, socket } = start();
  epoll.add(set, 3, socket, IN | ET);
  arrive(machine, 1234);
  assert.deepEqual(epoll.wait(set), ["3:1"]);
  assert.deepEqual(epoll.wait(set), []);
  arrive(machine, 1234);
  arrive(machine, 1234);
  assert.deepEqual(epoll.wait(set), ["3:1"]);
  assert.deepEqual(epoll.wait(set), []);
  epoll.modify(set, 3, socket, IN | ET);
  assert.deepEqual(epoll.wait(set), ["3:1"], "a change looks again");
});

test("one-shot: reported once until it is changed", () => {
  const { machine, epoll, set, socket } = start();
  epoll.add(set, 3, socket, IN | ONESHOT);
  arrive(machine, 1234);
  assert.deepEqual(epoll.wait(set), ["3:1"]);
  arrive(machine, 1234);
  assert.deepEqual(epoll.wait(set), []);
  assert.ok(epoll.modify(set, 3, socket, IN | ONESHOT) > 0);
  assert.deepEqual(epoll.wait(set), ["3:1"]);
});

test("what does not concern an item does not make it ready", () => {
  const { machine, epoll, set, socket } = start();
  epoll.add(set, 3, socket, 0);
  arrive(machine, 1234);
  assert.equal(epoll.set(set).readyCount, 0);
});

test("a descriptor number may mean two sockets, and each is one item", () => {
  const { machine, epoll, set, socket } = start();
  const other = machine.bound(LOCAL, 1235);
  assert.ok(epoll.add(set, 3, socket, IN) > 0);
  assert.equal(epoll.add(set, 3, socket, IN), EEXIST);
  assert.ok(epoll.add(set, 3, other, IN) > 0);
  assert.ok(epoll.add(set, 4, socket, IN) > 0);
  arrive(machine, 1234);
  assert.deepEqual(epoll.wait(set).sort(), ["3:1", "4:1"]);
  assert.equal(machine.calls.epollDelete(set, 3, socket, 0), 0);
  assert.equal(machine.calls.epollDelete(set, 3, socket, 0), ENOENT);
  assert.equal(epoll.modify(set, 3, socket, IN), ENOENT);
  assert.deepEqual(epoll.wait(set), ["4:1"]);
  machine.calls.socketDestroy(socket);
  assert.deepEqual(epoll.wait(set), []);
  assert.equal(epoll.modify(set, 4, socket, IN), ENOENT);
  assert.ok(epoll.modify(set, 3, other, IN) > 0);
});

test("EPOLLEXCLUSIVE is refused as Linux refuses it", () => {
  const { epoll, set, socket } = start();
  const inner = epoll.create();
  assert.equal(epoll.add(set, 3, socket, IN | ONESHOT | EXCLUSIVE), EINVAL);
  assert.equal(epoll.add(set, 3, inner, IN | EXCLUSIVE, INNER), EINVAL);
  assert.ok(epoll.add(set, 3, socket, IN | ET | EXCLUSIVE) > 0);
  assert.equal(epoll.modify(set, 3, socket, IN), EINVAL);
});

test("whoever gets less than there is gets the rest next, each in turn", () => {
  const { machine, epoll, set } = start();
  for (let n = 0; n < 5; n++) {
    epoll.add(set, 10 + n, machine.bound(LOCAL, 2000 + n), IN);
    arrive(machine, 2000 + n);
  }
  assert.deepEqual(epoll.wait(set, 2), ["10:1", "11:1"]);
  assert.deepEqual(epoll.wait(set, 2), ["12:1", "13:1"]);
  assert.deepEqual(epoll.wait(set, 2), ["14:1", "10:1"]);
});

test("one thread of a set is woken, and another for what is left", () => {
  const { machine, epoll, set, socket } = start();
  epoll.add(set, 3, socket, IN | ET);
  epoll.add(set, 4, machine.bound(LOCAL, 1235), IN | ET);
  const [first, second] = [epoll.sleeperIn(set), epoll.sleeperIn(set)];
  arrive(machine, 1234);
  assert.deepEqual(epoll.wakeups(), [second], "the one that came last");
  assert.deepEqual(epoll.wakeups(), []);
  arrive(machine, 1235);
  assert.deepEqual(epoll.wakeups(), [first]);
});

test("taking a part wakes the next thread", () => {
  const { machine, epoll, set, socket } = start();
  epoll.add(set, 3, socket, IN | ET);
  epoll.add(set, 4, machine.bound(LOCAL, 1235), IN | ET);
  arrive(machine, 1234);
  arrive(machine, 1235);
  const sleeper = epoll.sleeperIn(set);
  assert.deepEqual(epoll.wait(set, 1), ["3:1"]);
  assert.deepEqual(epoll.wakeups(), [sleeper]);
});

test("a thread that ends before its doorbell was rung is not rung, nor is its slot's next", () => {
  const { machine, epoll, set, socket } = start();
  epoll.add(set, 3, socket, IN | ET);
  const gone = epoll.sleeperIn(set);
  arrive(machine, 1234);
  machine.calls.waiterRemove(gone);
  const next = epoll.sleeperIn(set);
  assert.equal(next, gone, "the slot is used again");
  arrive(machine, 1234);
  assert.deepEqual(epoll.wakeups(), [next]);
  assert.equal(machine.calls.hasWakeups(), 0);
});

test("a sleeper hears of a member that is added or changed", () => {
  const { machine, epoll, set, socket } = start();
  arrive(machine, 1234);
  const sleeper = epoll.sleeperIn(set);
  epoll.add(set, 3, socket, IN);
  assert.deepEqual(epoll.wakeups(), [sleeper]);
});

test("of eight sets with EPOLLEXCLUSIVE one thread is woken, without it all", () => {
  const { machine, epoll, socket } = start();
  const sets = Array.from({ length: 8 }, () => epoll.create());
  for (const one of sets) epoll.add(one, 3, socket, IN | EXCLUSIVE);
  const sleepers = sets.map((one) => epoll.sleeperIn(one));
  arrive(machine, 1234);
  assert.deepEqual(epoll.wakeups(), [sleepers[0]], "the set that was added first");
  arrive(machine, 1234);
  assert.deepEqual(epoll.wakeups(), [sleepers[1]], "the first does not wait now");
  const plain = epoll.create();
  epoll.add(plain, 3, socket, IN);
  const one = epoll.sleeperIn(plain);
  epoll.wakeups();
  machine.calls.waiterArm(one, 0n, plain);
  arrive(machine, 1234);
  assert.deepEqual(epoll.wakeups().sort(), [one, sleepers[2]].sort());
});

test("a thread that spins in a set takes EPOLLEXCLUSIVE's event, and no other set hears", () => {
  const { machine, epoll, socket } = start();
  const sets = Array.from({ length: 3 }, () => epoll.create());
  for (const one of sets) epoll.add(one, 3, socket, IN | EXCLUSIVE);
  const [first = 0, second = 0] = sets;
  const spinner = machine.calls.waiterAdd(1);
  machine.calls.waiterEnter(spinner, first);
  const sleeper = epoll.sleeperIn(second);
  arrive(machine, 1234);
  assert.deepEqual(epoll.wakeups(), []);
  assert.deepEqual(
    sets.map((one) => epoll.set(one).readyCount),
    [1, 0, 0],
  );
  arrive(machine, 1234);
  assert.deepEqual(epoll.wakeups(), [sleeper], "the first is in no set any more");
  machine.calls.waiterEnter(spinner, first);
  machine.calls.waiterDisarm(spinner);
  assert.equal(epoll.set(first).waiters, 0);
});

test("a change of state wakes every set with EPOLLEXCLUSIVE", () => {
  const { machine, epoll, socket } = start();
  const sets = Array.from({ length: 3 }, () => epoll.create());
  for (const one of sets) epoll.add(one, 3, socket, IN | EXCLUSIVE);
  const sleepers = sets.map((one) => epoll.sleeperIn(one));
  machine.calls.socketToKernel(socket);
  assert.deepEqual(epoll.wakeups().sort(), sleepers.sort());
});

test("sets in sets, three deep", () => {
  const { machine, epoll, set, socket } = start();
  const [middle, outer] = [epoll.create(), epoll.create()];
  epoll.add(middle, 20, set, IN, INNER);
  epoll.add(outer, 30, middle, IN | ET, INNER);
  epoll.add(set, 3, socket, IN);
  const sleeper = epoll.sleeperIn(outer);
  arrive(machine, 1234);
  assert.deepEqual(epoll.wakeups(), [sleeper]);
  assert.deepEqual(epoll.wait(outer), ["30:1"]);
  assert.deepEqual(epoll.wait(outer), [], "an edge");
  assert.deepEqual(epoll.wait(middle), ["20:1"]);
  assert.deepEqual(epoll.wait(set), ["3:1"]);
  machine.receive(socket);
  assert.deepEqual(epoll.wait(middle), []);
  assert.equal(machine.calls.epollReady(set), 0);
  machine.calls.epollClose(middle, 1);
  arrive(machine, 1234);
  assert.deepEqual(epoll.wait(outer), []);
});

test("both halves of one member are one event, and one-shot fires once", () => {
  const { machine, epoll, set, socket } = start();
  const item = epoll.add(set, 3, socket, IN | OUT | ONESHOT, Half.WithoutOut);
  machine.send(socket, Uint8Array.of(1), { host: PEER, port: 9 });
  assert.equal(epoll.deliver(set, item, IN), 1);
  assert.deepEqual(epoll.wait(set), ["3:5"]);
  assert.equal(epoll.deliver(set, item, IN), 1, "known, but it has fired");
  assert.deepEqual(epoll.wait(set), []);
  epoll.modify(set, 3, socket, IN, Half.WithoutOut);
  assert.equal(epoll.deliver(set, item, IN), 1);
  assert.deepEqual(epoll.wait(set), ["3:1"]);
  assert.deepEqual(epoll.wait(set), [], "the kernel says it again if it is still so");
});

test("the kernel's word for an item that is no more, or another's, is refused", () => {
  const { machine, epoll, set, socket } = start();
  const item = epoll.add(set, 3, socket, IN, Half.WithoutOut);
  const { generation } = epoll.item(item);
  const { epollDeliver } = machine.calls;
  assert.equal(epollDeliver(set, item, generation & 255, 4, IN), 0);
  assert.equal(epollDeliver(epoll.create(), item, generation & 255, 3, IN), 0);
  machine.calls.epollDelete(set, 3, socket, 0);
  assert.equal(epollDeliver(set, item, generation & 255, 3, IN), 0);
  assert.ok(epoll.add(set, 3, socket, IN) === item, "the slot is used again");
  assert.equal(epollDeliver(set, item, generation & 255, 3, IN), 0);
  assert.equal(epollDeliver(set, 0xffffffff, 0, 3, IN), 0);
  assert.equal(epoll.deliver(set, item, IN), 0, "the stack alone has it");
});

test("an error is an event of its own, wanted or not", () => {
  const { machine, epoll, set, socket } = start();
  epoll.add(set, 3, socket, ET);
  machine.socket(socket).error = 111;
  epoll.modify(set, 3, socket, ET);
  assert.deepEqual(epoll.wait(set), [`3:${ERR}`]);
});
