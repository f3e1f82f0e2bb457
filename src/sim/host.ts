// A host in memory: the real module in V8, interfaces whose rings are served in TypeScript, and
// exasockd's answers about routes and neighbours. Time is an argument; nothing happens by itself.

import {
  DESTINATIONS_OFFSET,
  DESTINATION_BYTES,
  DestinationView,
  HEADER_OFFSET,
  InterfaceFlag,
  RegionHeaderView,
} from "../../build/gen/layout.ts";
import { createStack, type HostOverrides, type StackInstance } from "../core/instance.ts";
import { address, addressText, macParts } from "./address.ts";
import { createRings, type Transmission } from "./rings.ts";
import { createSockets } from "./sockets.ts";

/** Any number does: there is only one build that looks at the region. */
const BUILD_HASH = 1n;
/** More calls of poll() in a row than this mean that it does not come to an end. */
const POLLS_MAX = 100_000;
const NEVER = 0xffffffffffffffffn;

/** poll() always says that there is more to do. */
export class EndlessPoll extends Error {
  override readonly name = "EndlessPoll";
  override readonly message = "poll() does not come to an end";
}

export interface HostOptions {
  /** What regionSeed is given. */
  seed?: [bigint, bigint];
  frameCount?: number;
  frameBytes?: number;
  /** Frames that each queue keeps posted. */
  fillTarget?: number;
  /** Frames per queue and call of poll(). */
  pollBudget?: number;
  host?: HostOverrides;
}

export interface InterfaceOptions {
  ifindex: number;
  mac: Uint8Array;
  /** IPv4 address in dotted text. */
  address: string;
  mtu?: number;
  /** veth: transport checksums of received packets may be unfinished. */
  virtual?: boolean;
}

/** What exasockd would learn from the kernel about an address. */
export interface Route {
  /** What addInterface returned. */
  interfaceSlot: number;
  source: string;
  nextHop: string;
  mtu: number;
  /** Hardware address of the next hop; undefined: not known (yet). */
  mac: Uint8Array | undefined;
}

/** A packet that the host sent; complete() gives its frame back to the stack. */
export interface Sent extends Transmission {
  queue: number;
  generation: number;
}

export type Host = ReturnType<typeof createHost>;

/**
 * A formatted region with the stack `source`: a module (build/stack.wasm), or an instance with
 * fresh memory. `findRoute` answers for each destination that the stack asks for; undefined: only
 * the kernel can serve it.
 */
export function createHost(
  source: WebAssembly.Module | StackInstance,
  findRoute: (destination: string) => Route | undefined,
  options: HostOptions = {},
) {
  const { frameCount = 2048, frameBytes = 2048, fillTarget = 256, pollBudget = 64 } = options;
  const isModule = source instanceof WebAssembly.Module;
  const stack = isModule ? createStack(source, options.host ?? {}) : source;
  const { calls, memory, view } = stack;
  const status = calls.regionFormat(BigInt(memory.byteLength), frameBytes, frameCount, BUILD_HASH);
  if (status !== 0) throw new Error(`regionFormat: ${status}`);
  calls.regionSeed(...(options.seed ?? [1n, 2n]));
  const header = new RegionHeaderView(view, HEADER_OFFSET);
  const rings = createRings(stack);
  const queues: number[] = [];
  /** Counts restarts: what a queue before had with the kernel is of no interest any more. */
  let generation = 0;

  /** Slot of a new interface with one queue and one address. */
  function addInterface(one: InterfaceOptions): number {
    const flags = InterfaceFlag.Up | (one.virtual ? InterfaceFlag.Virtual : 0);
    const slot = calls.interfaceAdd(one.ifindex, one.mtu ?? 1500, ...macParts(one.mac), flags);
    queues.push(rings.addQueue(slot, 0, fillTarget));
    const own = address(one.address);
    calls.addressAdd(own.hi, own.lo);
    return slot;
  }

  /** Answers what the stack asks exasockd for. */
  function answerRequests(): void {
    for (let at = calls.destinationNextRequest(); at >= 0; at = calls.destinationNextRequest()) {
      const entry = new DestinationView(view, DESTINATIONS_OFFSET + at * DESTINATION_BYTES);
      const route = findRoute(addressText(entry.addressLo));
      if (!route) {
        calls.destinationReject(at);
        continue;
      }
      const source = address(route.source);
      const hop = address(route.nextHop);
      const slot = route.interfaceSlot;
      calls.destinationResolve(at, slot, source.hi, source.lo, hop.hi, hop.lo, route.mtu);
      if (route.mac) calls.neighborSet(slot, hop.hi, hop.lo, ...macParts(route.mac), 1);
    }
  }

  /** The next hop's hardware address becomes known, changes, or (undefined) is not valid now. */
  function setNeighbor(interfaceSlot: number, nextHop: string, mac?: Uint8Array): void {
    const hop = address(nextHop);
    const parts: [number, number] = mac ? macParts(mac) : [0, 0];
    calls.neighborSet(interfaceSlot, hop.hi, hop.lo, ...parts, mac ? 1 : 0);
  }

  /** Does everything that is due at `now`: answers, received packets, timers. */
  function run(now: bigint): void {
    for (let polls = 0; polls < POLLS_MAX; polls++) {
      answerRequests();
      if (calls.hasWork() === 0 && calls.nextDeadline() > now) return;
      calls.poll(now, pollBudget);
    }
    throw new EndlessPoll();
  }

  /** When run() is next due without anything arriving; undefined: never. */
  function nextDeadline(): bigint | undefined {
    const at = calls.nextDeadline();
    return at === NEVER ? undefined : at;
  }

  /** The packets on the TX rings. Their frames are the kernel's until complete() is called. */
  function takeSent(): Sent[] {
    return queues.flatMap((queue) =>
      rings.takeTransmitting(queue).map((one) => ({ ...one, queue, generation })),
    );
  }

  function complete(one: Sent): void {
    if (one.generation === generation) rings.complete(one.queue, one.umemAddress);
  }

  /** The AF_XDP socket of the first interface is closed, and another one made in its place. */
  function restartQueue(): void {
    const [gone = 0] = queues;
    calls.queueStop(gone);
    queues[0] = rings.addQueue(0, 0, fillTarget);
    generation += 1;
  }

  return {
    calls,
    restartQueue,
    view,
    bytes: new Uint8Array(memory),
    header,
    addInterface,
    answerRequests,
    setNeighbor,
    run,
    nextDeadline,
    deliver: rings.deliver,
    takeSent,
    complete,
    /** True while the kernel has the packet's frame. */
    isWithKernel: (one: Sent) => one.generation === generation,
    sockets: createSockets(stack, answerRequests),
  };
}
