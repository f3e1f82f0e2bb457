// How long epoll sets live, how many there may be, and what a death leaves.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  EPOLL_EVENTS_MAX,
  FORK_TICKET_BYTES,
  FORK_TICKETS_OFFSET,
  ForkTicketView,
  MAX_EPOLL_ITEMS,
  MAX_EPOLL_SETS,
  MAX_FORK_TICKETS,
} from "../../build/gen/layout.ts";
import { epollOf, ET, EXCLUSIVE, IN, INNER } from "./epoll-machine.ts";
import { createMachine, LOCAL, type Machine } from "./machine.ts";
import { udpDatagram } from "./packets.ts";

function ticketAt({ view }: Machine, ticket: number): ForkTicketView {
  return new ForkTicketView(view, FORK_TICKETS_OFFSET + ticket * FORK_TICKET_BYTES);
}

function arrive(machine: Machine, port = 1234): void {
  machine.deliver(udpDatagram({ destinationPort: port }));
  machine.poll();
}

test("a set ends with the last program that refers to it", () => {
  const machine = createMachine();
  const { calls } = machine;
  const epoll = epollOf(machine);
  const [parent, child] = [calls.clientAdd(100), calls.clientAdd(101)];
  const socket = machine.bound(LOCAL, 1234);
  const set = epoll.create(parent);
  epoll.add(set, 3, socket, IN | ET);
  const ticket = calls.epollFork(parent);
  assert.ok(ticket > 0);
  calls.epollForked(ticket, child);
  calls.epollClose(set, parent);
  arrive(machine);
  assert.deepEqual(epoll.wait(set), ["3:1"], "the child's still");
  calls.clientRemove(child);
  assert.equal(machine.socket(socket).items, 0);
  assert.equal(calls.epollCollect(set, 8), 0);
  assert.equal(epoll.create(parent), set, "the slot is used again");
  assert.equal(calls.epollCollect(set, 8), 0);
});

test("a child that ends without joining lets go of its parent's sets", () => {
  const machine = createMachine();
  const { calls } = machine;
  const epoll = epollOf(machine);
  const set = epoll.create(1);
  assert.equal(calls.epollFork(2), 0, "nothing to inherit, no ticket");
  const ticket = calls.epollFork(1);
  ticketAt(machine, ticket).pid = 4711;
  calls.epollClose(set, 1);
  assert.equal(calls.epollNextFork(0), ticket);
  assert.equal(calls.epollNextFork(ticket), 0);
  assert.notEqual(epoll.set(set).references, 0);
  calls.epollDropFork(ticket);
  assert.equal(epoll.set(set).references, 0);
  assert.equal(calls.epollNextFork(0), 0);
});

test("a child that never came is given up", () => {
  const machine = createMachine();
  const { calls } = machine;
  const epoll = epollOf(machine);
  const set = epoll.create(1);
  calls.epollFork(1);
  calls.epollClose(set, 1);
  let looks = 0;
  while (epoll.set(set).references !== 0) {
    assert.equal(calls.epollNextFork(0), 0);
    looks += 1;
    assert.ok(looks < 1000);
  }
  assert.ok(looks > 10, "not at once: it may be slow");
});

test("sets, items and tickets are bounded", () => {
  const machine = createMachine();
  const { calls } = machine;
  const epoll = epollOf(machine);
  let sets = 0;
  while (calls.epollCreate(1) > 0) sets += 1;
  assert.equal(sets, MAX_EPOLL_SETS - 1);
  calls.clientRemove(1);
  const set = epoll.create(1);
  const socket = machine.bound(LOCAL, 1234);
  let items = 0;
  while (epoll.add(set, items, socket, IN) > 0) items += 1;
  assert.equal(items, MAX_EPOLL_ITEMS - 1);
  assert.equal(epoll.add(set, items, socket, IN), -28);
  arrive(machine);
  assert.equal(calls.epollCollect(set, 0xffffffff), EPOLL_EVENTS_MAX);
  let tickets = 0;
  while (calls.epollFork(1) > 0) tickets += 1;
  assert.equal(tickets, MAX_FORK_TICKETS - 1);
  calls.epollClose(set, 1);
  for (let ticket = 1; ticket < MAX_FORK_TICKETS; ticket++) calls.epollDropFork(ticket);
  assert.equal(machine.socket(socket).items, 0);
});

test("numbers that mean nothing are refused", () => {
  const machine = createMachine();
  const { calls } = machine;
  const epoll = epollOf(machine);
  const set = epoll.create();
  for (const wrong of [0, 77, MAX_EPOLL_SETS, 0xffffffff]) {
    assert.equal(calls.epollAdd(wrong, 3, 1, 0, IN, 0n), -22);
    assert.equal(calls.epollAdd(set, 3, wrong, 0, IN, 0n), -22);
    assert.equal(calls.epollAdd(set, 3, wrong, INNER, IN, 0n), -22);
    assert.equal(calls.epollModify(wrong, 3, 1, 0, IN, 0n), -2);
    assert.equal(calls.epollDelete(wrong, 3, 1, 0), -2);
    assert.equal(calls.epollCollect(wrong, 8), 0);
    assert.equal(calls.epollReady(wrong), 0);
    calls.epollArm(wrong, IN, 0n);
    calls.epollHalf(wrong, 1);
    calls.epollPass(wrong);
    calls.epollClose(wrong, 1);
    calls.epollForked(wrong === 77 ? 0 : wrong, 1);
    calls.epollDropFork(wrong);
  }
});

test("after a death every list is whole again, and nothing that was ready is lost", () => {
  const machine = createMachine();
  const { calls } = machine;
  const epoll = epollOf(machine);
  const sockets = Array.from({ length: 4 }, (_, n) => machine.bound(LOCAL, 1234 + n));
  const [set, outer] = [epoll.create(), epoll.create()];
  for (const [n, socket] of sockets.entries()) {
    epoll.add(set, 10 + n, socket, n % 2 === 0 ? IN | ET : IN | EXCLUSIVE);
  }
  epoll.add(outer, 5, set, IN | ET, INNER);
  const sleeper = epoll.sleeperIn(set);
  arrive(machine, 1235);
  // What links them is lost; what each says of itself is all there is.
  for (let at = 1; at < machine.header.itemHigh; at++) {
    const item = epoll.item(at);
    item.targetNext = 99;
    item.setNext = 98;
    item.readyNext = 97;
    item.hashNext = 96;
  }
  epoll.set(set).readyHead = 95;
  epoll.set(set).references = 94;
  calls.regionRecover();
  assert.ok(epoll.wakeups().includes(sleeper));
  assert.deepEqual(epoll.wait(set), ["11:1"]);
  assert.deepEqual(epoll.wait(outer), ["5:1"]);
  for (const [n, socket] of sockets.entries()) {
    assert.equal(calls.epollDelete(set, 10 + n, socket, 0), 0);
  }
  assert.equal(epoll.set(set).items, 0);
  assert.equal(epoll.set(set).exclusives, 0);
});
