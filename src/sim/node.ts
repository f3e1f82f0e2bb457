// A host in the simulated network: packets come and go, its programs run, its timers fire, and the
// checkers look at it after each of these.

import { InterfaceFlag } from "../../build/gen/layout.ts";
import { macParts } from "./address.ts";
import { createChecker } from "./checker.ts";
import type { Clock, Event } from "./clock.ts";
import { DIED } from "./fuse.ts";
import { createHost, type Host, type Route, type Sent } from "./host.ts";
import type { Ledger } from "./ledger.ts";
import type { Random } from "./prng.ts";
import { createPrograms, type Program } from "./programs.ts";
import type { CableOptions } from "./world.ts";

/** How often a call ends in death, where that happens. */
const DEATH_CHANCE = 0.03;
const EPHEMERAL_FIRST = 32768;
const EPHEMERAL_COUNT = 28232;

export interface NodeOptions {
  name: string;
  address: string;
  mac: Uint8Array;
  gateway: { address: string; mac: Uint8Array };
  module: WebAssembly.Module;
  clock: Clock;
  random: Random;
  ledger: Ledger;
  fail: (message: string) => never;
  send: (packet: Uint8Array) => void;
  capture: (packet: Uint8Array, comment?: string) => void;
  checkEvery: number;
  /** Checks the hosts against each other. */
  checkAll: () => void;
  options: CableOptions;
}

export type Node = ReturnType<typeof createNode>;

export function createNode(setup: NodeOptions) {
  const { name, address, mac, gateway, ledger, clock, random, options } = setup;
  const { mtu = 1500, pollNanos = 0 } = options;
  const fail = (message: string): never => setup.fail(`${name}: ${message}`);
  const hop: Pick<Route, "nextHop" | "mac"> = { nextHop: gateway.address, mac: gateway.mac };
  const route: Route = { interfaceSlot: 0, source: address, mtu, ...hop };
  const host = createHost(setup.module, () => route, {
    seed: [random.word64(), random.word64()],
    ...options.host,
  });
  prepare(setup, host);
  const checker = createChecker(host, fail);
  const count = { received: 0, sent: 0, ringFull: 0, activities: 0 };
  const wake = () => activity();
  const perilous = peril(setup, host);
  const run = () => {
    host.run(callTime());
    host.run(now());
  };
  const flush = departures(setup, host, count, wake);
  const programs = createPrograms({ clock, fail, wake, takeNotified: notifications(host) });
  let [timer, pollEvent]: (Event | undefined)[] = [];
  let isBusy = false;

  const now = () => BigInt(clock.now());
  /** The time that a call gives: whoever makes it has read the clock some time before. */
  const callTime = () => BigInt(clock.now() - random.below(1 + (options.staleNanos ?? 0)));

  /** Does all that can be done now. */
  function activity(): void {
    if (isBusy) return;
    isBusy = true;
    count.activities += 1;
    let hasRun = true;
    while (hasRun) {
      if (perilous(run) === DIED) run();
      flush();
      hasRun = programs.resumeAll();
      flush();
    }
    isBusy = false;
    const isDeep = count.activities % setup.checkEvery === 0;
    if (setup.checkEvery > 0) checker.check(now(), isDeep);
    if (isDeep) setup.checkAll();
    schedule();
  }

  function schedule(): void {
    const due = host.nextDeadline();
    if (timer?.action && timer.nanos === Number(due)) return;
    clock.cancel(timer);
    timer = due === undefined ? undefined : clock.at(Number(due), activity);
  }

  /** A packet comes out of the cable. */
  function arrive(packet: Uint8Array): void {
    count.received += 1;
    const hasRoom = host.deliver(packet);
    setup.capture(packet, hasRoom ? undefined : "dropped: no frame was posted");
    if (!hasRoom) count.ringFull += 1;
    if (pollNanos === 0) {
      activity();
    } else if (!pollEvent?.action) {
      pollEvent = clock.after(random.below(pollNanos), activity);
    }
  }

  return {
    ...{ address, mac, name, ledger, random, clock },
    host,
    sockets: host.sockets,
    now,
    callTime,
    perilous,
    fail,
    checker,
    /** Listening sockets, closed when the programs are done. */
    listeners: [] as number[],
    count,
    route,
    arrive,
    changeMtu: mtuChanger(host, route, mac),
    activity,
    /**
     * Starts a program; nobody waits for the end of a server. Returns a function that ends it where
     * it is.
     */
    spawn: (title: string, program: Program, isServer = false) => {
      clock.after(0, activity);
      return programs.add(title, program, isServer);
    },
    ephemeralPort: ephemeralPorts(random),
    ...{ unfinished: programs.unfinished, stop: programs.stop },
  };
}

/** A function that changes the MTU as exasockd would: in the stack, and in answers about routes. */
function mtuChanger({ calls }: Host, route: Route, mac: Uint8Array): (mtu: number) => void {
  return (mtu) => {
    route.mtu = mtu;
    calls.interfaceUpdate(0, mtu, ...macParts(mac), InterfaceFlag.Up);
  };
}

/** A function that returns the interest bits notified since its last call, as a sleeper sees them. */
function notifications({ calls, header }: Host): () => bigint {
  const slot = calls.waiterAdd(1);
  calls.waiterArm(slot, 0xffffffffffffffffn, 0);
  return () => {
    const notified = header.wakeMask;
    if (notified !== 0n) header.wakeMask = 0n;
    return notified;
  };
}

function prepare({ mac, address, options }: NodeOptions, host: Host): void {
  // Before the stack publishes anything: what it writes without a memory is lost.
  options.fuse?.connect(host.view);
  host.addInterface({ ifindex: 2, mac, address, mtu: options.mtu ?? 1500 });
}

/** A function that makes a call which, on a host with a fuse, may be the last of who makes it. */
function peril({ options, random }: NodeOptions, host: Host) {
  const { fuse } = options;
  return <T>(call: () => T): T | typeof DIED => {
    if (!fuse || !random.chance(DEATH_CHANCE)) return call();
    const result = fuse.lit(fuse.length(random), call);
    if (result === DIED) host.calls.regionRecover();
    return result;
  };
}

/** A function that returns a port of the ephemeral range, another one each time. */
function ephemeralPorts(random: Random): () => number {
  let next = random.below(EPHEMERAL_COUNT);
  return () => {
    next = (next + 1) % EPHEMERAL_COUNT;
    return EPHEMERAL_FIRST + next;
  };
}

/** A function that puts what left the stack on the cable, and later gives its frames back. */
function departures(setup: NodeOptions, host: Host, count: { sent: number }, wake: () => void) {
  const { clock, random } = setup;
  const { completionNanos = 0 } = setup.options;

  function complete(one: Sent): void {
    if (!host.isWithKernel(one)) return;
    // The interface may read the frame until now.
    const at = host.header.framePoolOffset + Number(one.umemAddress);
    const still = host.bytes.subarray(at, at + one.packet.length);
    if (Buffer.compare(still, one.packet) !== 0) {
      setup.fail(`${setup.name}: a frame changed while the kernel had it`);
    }
    host.complete(one);
    if (host.calls.hasWork() !== 0) wake();
  }

  return () => {
    for (const one of host.takeSent()) {
      count.sent += 1;
      setup.capture(one.packet);
      setup.send(one.packet);
      if (completionNanos === 0) host.complete(one);
      else clock.after(random.below(completionNanos), () => complete(one));
    }
  };
}
