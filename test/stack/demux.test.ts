import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { SocketOption, STEERING_OFFSET, STEERING_SHARED_OFFSET } from "../../build/gen/layout.ts";
import { address, createMachine, LOCAL, type Machine, PEER, portNet } from "./machine.ts";
import { udpDatagram } from "./packets.ts";

function receivers(machine: Machine, sockets: number[]): number[] {
  machine.poll();
  return sockets.map((index) => {
    let count = 0;
    while (machine.receive(index)) count += 1;
    return count;
  });
}

test("connected beats bound, bound beats wildcard, and others' peers don't match", () => {
  const machine = createMachine();
  const any = machine.bound("0.0.0.0", 1234);
  const bound = machine.bound(LOCAL, 1234);
  const connected = machine.bound(LOCAL, 1234);
  machine.connect(connected, 1234, PEER, 4000);
  const sockets = [any, bound, connected];
  machine.deliver(udpDatagram({ sourcePort: 4000 }));
  assert.deepEqual(receivers(machine, sockets), [0, 0, 1]);
  machine.deliver(udpDatagram({ sourcePort: 4001 }));
  assert.deepEqual(receivers(machine, sockets), [0, 1, 0]);
  machine.calls.socketDestroy(bound);
  machine.deliver(udpDatagram({ sourcePort: 4001 }));
  assert.deepEqual(receivers(machine, [any, connected]), [1, 0]);
});

test("a wildcard socket receives only what is for this host", () => {
  const machine = createMachine();
  const any = machine.bound("0.0.0.0", 1234);
  machine.deliver(udpDatagram({ destination: "10.0.0.99" }));
  assert.deepEqual(receivers(machine, [any]), [0]);
  const added = address("10.0.0.99");
  machine.calls.addressAdd(added.hi, added.lo);
  machine.deliver(udpDatagram({ destination: "10.0.0.99" }));
  assert.deepEqual(receivers(machine, [any]), [1]);
  machine.calls.addressRemove(added.hi, added.lo);
  machine.deliver(udpDatagram({ destination: "10.0.0.99" }));
  assert.deepEqual(receivers(machine, [any]), [0]);
  assert.equal(machine.header.rxDropNoSocket, 2n);
});

test("a socket bound to a device receives from that device only", () => {
  const machine = createMachine();
  const mac = Uint8Array.of(2, 0, 0, 0, 0, 7);
  machine.addInterface(8, mac, 1);
  const first = machine.bound("0.0.0.0", 1234, 7);
  const second = machine.bound("0.0.0.0", 1234, 8);
  machine.deliver(udpDatagram(), 0);
  assert.deepEqual(receivers(machine, [first, second]), [1, 0]);
  machine.deliver(udpDatagram({ destinationMac: mac }), 1);
  assert.deepEqual(receivers(machine, [first, second]), [0, 1]);
});

/** Keys in the steering table. */
function steered(machine: Machine): number {
  let keys = 0;
  for (let at = STEERING_OFFSET; at < STEERING_SHARED_OFFSET; at += 8) {
    if (machine.view.getBigUint64(at, true) !== 0n) keys += 1;
  }
  return keys;
}

test("a port is shared once, however often that is told, and the count follows", () => {
  const machine = createMachine();
  const host = steered(machine);
  const count = () => machine.view.getUint32(STEERING_SHARED_OFFSET, true);
  for (let told = 0; told < 2; told++) machine.calls.portShare(6, portNet(80), 1);
  machine.calls.portShare(17, portNet(80), 1);
  assert.deepEqual([steered(machine) - host, count()], [2, 2]);
  machine.calls.regionRecover();
  assert.deepEqual([steered(machine) - host, count()], [2, 2], "a crash forgets none");
  machine.calls.portShare(6, portNet(80), 1);
  for (let told = 0; told < 2; told++) machine.calls.portShare(6, portNet(80), 0);
  machine.calls.portShare(17, portNet(80), 0);
  assert.deepEqual([steered(machine) - host, count()], [0, 0]);
});

test("every bind, rebind and close leaves exactly the keys that are needed", () => {
  const machine = createMachine();
  const host = steered(machine);
  const socket = machine.bound("0.0.0.0", 1234);
  const twin = machine.bound("0.0.0.0", 1234);
  assert.equal(steered(machine), host + 1);
  machine.calls.socketBind(socket, 0n, 0n, portNet(1234), 7);
  assert.equal(steered(machine), host + 2);
  machine.connect(socket, 1234);
  machine.calls.socketDestroy(twin);
  assert.equal(steered(machine), host + 1);
  machine.calls.socketToKernel(socket);
  assert.equal(steered(machine), host);
});

test("a socket bound to an address is steered while the host has that address", () => {
  const machine = createMachine();
  const at = address("10.0.0.77");
  machine.calls.addressAdd(at.hi, at.lo);
  const before = steered(machine);
  const socket = machine.bound("10.0.0.77", 1234);
  assert.equal(steered(machine), before + 1);
  machine.calls.addressRemove(at.hi, at.lo);
  assert.equal(steered(machine), before - 1);
  machine.calls.regionRecover();
  assert.equal(steered(machine), before - 1);
  machine.calls.addressAdd(at.hi, at.lo);
  assert.equal(steered(machine), before + 1);
  machine.deliver(udpDatagram({ destination: "10.0.0.77" }));
  assert.deepEqual(receivers(machine, [socket]), [1]);
});

test("among sockets that share an address, the newest receives", () => {
  const machine = createMachine();
  const older = machine.bound(LOCAL, 1234);
  const newer = machine.bound(LOCAL, 1234);
  machine.deliver(udpDatagram());
  assert.deepEqual(receivers(machine, [older, newer]), [0, 1]);
});

test("a SO_REUSEPORT group shares by flow: a flow keeps its socket, all sockets get flows", () => {
  const machine = createMachine({ fillTarget: 512 });
  const group = [0, 1, 2, 3].map(() => {
    const index = machine.createSocket();
    machine.calls.socketSetOption(index, SocketOption.ReusePort, 1);
    const at = address(LOCAL);
    machine.calls.socketBind(index, at.hi, at.lo, portNet(1234), 0);
    return index;
  });
  const owner = new Map<number, number>();
  for (let round = 0; round < 2; round++) {
    for (let sourcePort = 1000; sourcePort < 1200; sourcePort++) {
      machine.deliver(udpDatagram({ sourcePort }));
      const got = receivers(machine, group).indexOf(1);
      assert.notEqual(got, -1);
      if (round === 0) owner.set(sourcePort, got);
      else assert.equal(got, owner.get(sourcePort));
    }
  }
  for (const n of group.keys()) {
    const share = [...owner.values()].filter((value) => value === n).length;
    assert.ok(share > 20 && share < 90, `socket ${n} has ${share} of 200 flows`);
  }
});

test("reconnecting changes the peer, disconnecting opens the socket again", () => {
  const machine = createMachine();
  const socket = machine.bound(LOCAL, 1234);
  machine.connect(socket, 1234, PEER, 4000);
  machine.connect(socket, 1234, PEER, 4001);
  machine.deliver(udpDatagram({ sourcePort: 4000 }));
  assert.deepEqual(receivers(machine, [socket]), [0]);
  machine.deliver(udpDatagram({ sourcePort: 4001 }));
  assert.deepEqual(receivers(machine, [socket]), [1]);
  const at = address(LOCAL);
  machine.calls.socketDisconnect(socket, at.hi, at.lo, portNet(1234));
  machine.deliver(udpDatagram({ sourcePort: 4000 }));
  assert.deepEqual(receivers(machine, [socket]), [1]);
});

test("a socket given back to the kernel keeps its queue and receives nothing more", () => {
  const machine = createMachine();
  const socket = machine.bound(LOCAL, 1234);
  machine.deliver(udpDatagram());
  machine.poll();
  machine.calls.socketToKernel(socket);
  machine.deliver(udpDatagram());
  assert.deepEqual(receivers(machine, [socket]), [1]);
});

test("sockets are found by their cookie, and by no other, until they are destroyed", () => {
  const machine = createMachine();
  const sockets = Array.from({ length: 300 }, () => machine.createSocket());
  for (const [n, index] of sockets.entries()) {
    assert.equal(machine.calls.socketFind(BigInt(n + 1)), index);
  }
  for (const index of sockets.filter((_, n) => n % 2 === 0)) machine.calls.socketDestroy(index);
  for (const [n, index] of sockets.entries()) {
    assert.equal(machine.calls.socketFind(BigInt(n + 1)), n % 2 === 0 ? -2 : index);
  }
});

interface Model {
  host: string;
  port: number;
  peerPort: number;
  order: number;
}

/** What Linux's look-up would choose: the best score, and of equals the newest. */
function expected(model: Map<number, Model>, host: string, port: number, peerPort: number) {
  const candidates = [...model.entries()].filter(
    ([, it]) =>
      it.port === port &&
      (it.host === host || it.host === "0.0.0.0") &&
      (it.peerPort === 0 || it.peerPort === peerPort),
  );
  const rank = ([, it]: [number, Model]) =>
    (it.host === host ? 1e9 : 0) + (it.peerPort !== 0 ? 1e8 : 0) + it.order;
  return candidates.sort((a, b) => rank(b) - rank(a))[0]?.[0];
}

test("any sequence of binds, connects and closes leaves the table as a simple model says", () => {
  const hosts = ["0.0.0.0", LOCAL, "10.0.0.77"];
  const step = fc.record({
    action: fc.constantFrom("bind", "bind", "connect", "close", "deliver", "deliver"),
    host: fc.constantFrom(...hosts),
    port: fc.integer({ min: 1, max: 3 }),
    peerPort: fc.integer({ min: 1, max: 2 }),
    pick: fc.nat(),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const machine = createMachine({ frameCount: 512 });
      const second = address("10.0.0.77");
      machine.calls.addressAdd(second.hi, second.lo);
      const model = new Map<number, Model>();
      let order = 0;
      for (const { action, host, port, peerPort, pick } of steps) {
        const some = [...model.keys()][pick % Math.max(model.size, 1)];
        order += 1;
        if (action === "bind") {
          model.set(machine.bound(host, port), { host, port, peerPort: 0, order });
        } else if (action === "connect" && some !== undefined) {
          const it = model.get(some);
          if (!it) continue;
          machine.connect(some, it.port, PEER, peerPort);
          model.set(some, { host: LOCAL, port: it.port, peerPort, order });
        } else if (action === "close" && some !== undefined) {
          machine.calls.socketDestroy(some);
          model.delete(some);
        } else if (action === "deliver") {
          const destination = host === "0.0.0.0" ? LOCAL : host;
          machine.deliver(
            udpDatagram({ destination, destinationPort: port, sourcePort: peerPort }),
          );
          machine.poll();
          const got = [...model.keys()].filter((index) => machine.receive(index) !== undefined);
          const want = expected(model, destination, port, peerPort);
          assert.deepEqual(got, want === undefined ? [] : [want]);
        }
      }
      machine.census();
    }),
    { numRuns: 60 },
  );
});
