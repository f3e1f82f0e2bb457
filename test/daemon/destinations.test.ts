// Destinations against a kernel and a stack made of tables.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { pino } from "pino";
import {
  DESTINATIONS_OFFSET,
  DestinationState,
  DestinationView,
  HEADER_OFFSET,
  RegionHeaderView,
} from "../../build/gen/layout.ts";
import type { AcceleratedInterface } from "../../src/daemon/accelerated-interface.ts";
import { stackAddressOf } from "../../src/daemon/address.ts";
import { Destinations } from "../../src/daemon/destinations.ts";
import { SystemError } from "../../src/daemon/native.ts";
import * as msg from "../../src/daemon/netlink/message.ts";
import * as rt from "../../src/daemon/netlink/route.ts";
import type { NetlinkRequests } from "../../src/daemon/netlink/socket.ts";
import type { Region } from "../../src/daemon/region.ts";

const IFINDEX = 2;
const SLOT = 5;
const LINK_MTU = 1500;
const MAC = "02000000000b";
const ENOENT = 2;
const ENETUNREACH = 101;

function ip(text: string): Buffer {
  return Buffer.from(text.split(".").map(Number));
}

function dotted(bytes: Buffer | undefined): string {
  return [...(bytes ?? [])].join(".");
}

interface Neighbour {
  state: number;
  mac?: string;
}

/** What the stack was told, one line each, and what the kernel was asked to resolve. */
class World {
  readonly told: string[] = [];
  readonly resolved: string[] = [];
  readonly neighbours = new Map<string, Neighbour>();
  readonly view = new DataView(new ArrayBuffer(DESTINATIONS_OFFSET + 4096));
  readonly header = new RegionHeaderView(this.view, HEADER_OFFSET);
  readonly requested: number[] = [];
  /** What the kernel has learnt of the path, if anything. */
  pathMtu: number | undefined;
  /** IFF_* of the stack's interface. */
  flags = rt.IFF_UP;
  readonly destinations: Destinations;

  constructor() {
    const link = { link: { flags: 0, mtu: LINK_MTU }, slot: SLOT };
    Object.defineProperty(link.link, "flags", { get: () => this.flags });
    const region = { view: this.view, header: this.header, stack: this.#stack() };
    this.destinations = new Destinations(
      region as unknown as Region,
      { request: this.#request.bind(this) } as unknown as NetlinkRequests,
      {
        interfaces: new Map([[IFINDEX, link as unknown as AcceleratedInterface]]),
        isLocal: (address) => address.equals(ip("10.9.0.1")),
      },
      pino({ level: "silent" }),
    );
  }

  #stack() {
    return {
      destinationNextRequest: () => this.requested.shift() ?? -1,
      destinationResolve: (index: number, slot: number, ...rest: (bigint | number)[]) => {
        const hop = this.#address(rest[3]);
        const source = this.#address(rest[1]);
        this.told.push(`${index} by slot ${slot} from ${source} via ${hop} mtu ${rest[4]}`);
        const entry = this.entry(index);
        entry.nextHopLo = rest[3] as bigint;
        entry.mtu = Math.min(rest[4] as number, LINK_MTU);
        entry.state = DestinationState.Reachable;
      },
      destinationReject: (index: number) => this.told.push(`${index} rejected`),
      neighborFailed: () => {},
      neighborSet: (
        _slot: number,
        _hi: bigint,
        lo: bigint,
        low: number,
        _m: number,
        ok: number,
      ) => {
        const mac = ok ? ` ${low.toString(16)}` : "";
        this.told.push(`neighbour ${this.#address(lo)} ${ok ? "usable" : "unusable"}${mac}`);
      },
      destinationsFlush: () => this.told.push("flush"),
    };
  }

  #address(lo: bigint | number | undefined): string {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(Number(BigInt(lo ?? 0) >> 32n));
    return dotted(bytes);
  }

  entry(index: number): DestinationView {
    return new DestinationView(this.view, DESTINATIONS_OFFSET + index * DestinationView.BYTES);
  }

  /** A socket wants to send there. */
  want(index: number, address: string): void {
    const entry = this.entry(index);
    entry.addressLo = stackAddressOf(ip(address)).lo;
    this.header.destinationHigh = Math.max(this.header.destinationHigh, index + 1);
    this.requested.push(index);
    this.destinations.answer();
  }

  /** The kernel: 10.9.0.0/24 is on the link, 192.0.2.0/24 behind 10.9.0.254, nothing else. */
  #request(what: string, encode: (sequence: number) => Buffer): msg.NetlinkMessage[] {
    const [request] = msg.decodeMessages(encode(1)).messages;
    assert.ok(request);
    if (request.type === rt.RTM_GETROUTE) return [this.#route(what, request)];
    const neighbour = rt.decodeNeighbor(request);
    assert.equal(neighbour?.ifindex, IFINDEX);
    const address = dotted(neighbour?.address);
    if (request.type === rt.RTM_NEWNEIGH) {
      this.resolved.push(address);
      return [];
    }
    const known = this.neighbours.get(address);
    if (known === undefined) throw new SystemError(what, ENOENT);
    return [this.#neighbour(ip(address), known)];
  }

  #route(what: string, request: msg.NetlinkMessage): msg.NetlinkMessage {
    const destination = msg.decodeAttributes(request.payload, 12).get(1);
    const text = dotted(destination);
    const gateway = text.startsWith("192.0.2.");
    if (!gateway && !text.startsWith("10.9.0.")) throw new SystemError(what, ENETUNREACH);
    const head = Buffer.alloc(12);
    head.writeUInt8(rt.AF_INET, 0);
    head.writeUInt8(rt.RTN_UNICAST, 7);
    const parts = [head, msg.encodeUint32(4, IFINDEX), msg.encodeAttribute(7, ip("10.9.0.1"))];
    if (gateway) parts.push(msg.encodeAttribute(5, ip("10.9.0.254")));
    if (this.pathMtu) parts.push(msg.encodeAttribute(8, msg.encodeUint32(2, this.pathMtu)));
    const bytes = msg.encodeMessage(rt.RTM_NEWROUTE, 0, 1, ...parts);
    return msg.decodeMessages(bytes).messages[0] as msg.NetlinkMessage;
  }

  #neighbour(address: Buffer, { state, mac }: Neighbour): msg.NetlinkMessage {
    const [asked] = msg.decodeMessages(rt.encodeNeighborGet(1, IFINDEX, address)).messages;
    assert.ok(asked);
    asked.payload.writeUInt16LE(state, 8);
    const lladdr = mac ? msg.encodeAttribute(2, Buffer.from(mac, "hex")) : Buffer.alloc(0);
    return { ...asked, payload: Buffer.concat([asked.payload, lladdr]) };
  }

  /** News from the kernel about a neighbour. */
  news(address: string, state: number, mac = MAC, deleted = false): void {
    const message = this.#neighbour(ip(address), { state, mac });
    const neighbour = rt.decodeNeighbor(message);
    assert.ok(neighbour);
    this.destinations.neighborChanged(neighbour, deleted);
  }
}

const WIDEST = 0xffffffff;
const REACHED = `0 by slot ${SLOT} from 10.9.0.1 via 10.9.0.2 mtu ${WIDEST}`;

describe("exasockd's answer about a destination", () => {
  it("is route and neighbour when the kernel knows both", () => {
    const world = new World();
    world.neighbours.set("10.9.0.2", { state: rt.NUD_REACHABLE, mac: MAC });
    world.want(0, "10.9.0.2");
    assert.deepEqual(world.told, [REACHED, "neighbour 10.9.0.2 usable 2"]);
    assert.deepEqual(world.resolved, []);
  });

  it("has the kernel find the neighbour that it does not know, and passes it on then", () => {
    const world = new World();
    world.want(0, "10.9.0.2");
    assert.deepEqual(world.told, [REACHED]);
    assert.deepEqual(world.resolved, ["10.9.0.2"]);
    world.news("10.9.0.2", rt.NUD_REACHABLE);
    assert.equal(world.told.at(-1), "neighbour 10.9.0.2 usable 2");
  });

  it("names the gateway's neighbour for what is behind it", () => {
    const world = new World();
    world.want(0, "192.0.2.7");
    assert.deepEqual(world.resolved, ["10.9.0.254"]);
  });

  it("is a refusal without a route, on a link that is down, and for IPv6", () => {
    const world = new World();
    world.want(0, "198.51.100.1");
    world.flags = 0;
    world.want(1, "10.9.0.2");
    world.flags = rt.IFF_UP;
    world.entry(2).addressHi = 1n;
    world.want(2, "10.9.0.2");
    assert.deepEqual(world.told, ["0 rejected", "1 rejected", "2 rejected"]);
  });
});

describe("a neighbour in use", () => {
  it("that fails or is deleted is not sent to any more, until it is back", () => {
    const world = new World();
    world.neighbours.set("10.9.0.2", { state: rt.NUD_REACHABLE, mac: MAC });
    world.want(0, "10.9.0.2");
    world.news("10.9.0.2", rt.NUD_FAILED);
    world.news("10.9.0.2", rt.NUD_REACHABLE, "0a000000000b");
    world.news("10.9.0.2", rt.NUD_REACHABLE, MAC, true);
    assert.deepEqual(world.told.slice(2), [
      "neighbour 10.9.0.2 unusable",
      "neighbour 10.9.0.2 usable a",
      "neighbour 10.9.0.2 unusable",
    ]);
  });

  it("that turns stale stays usable and is confirmed if it was sent to, once", () => {
    const world = new World();
    world.neighbours.set("10.9.0.2", { state: rt.NUD_REACHABLE, mac: MAC });
    world.want(0, "10.9.0.2");
    world.news("10.9.0.2", rt.NUD_STALE);
    assert.equal(world.told.at(-1), "neighbour 10.9.0.2 usable 2");
    world.destinations.confirmStale();
    assert.deepEqual(world.resolved, []);
    world.entry(0).used = 1;
    world.destinations.confirmStale();
    world.entry(0).used = 1;
    world.destinations.confirmStale();
    assert.deepEqual(world.resolved, ["10.9.0.2"]);
  });

  it("is asked for again when the kernel has learnt another path MTU, if it was sent to", () => {
    const world = new World();
    world.neighbours.set("10.9.0.2", { state: rt.NUD_REACHABLE, mac: MAC });
    world.want(0, "10.9.0.2");
    world.pathMtu = 1300;
    world.destinations.checkPathMtus();
    assert.notEqual(world.told.at(-1), "flush");
    world.entry(0).used = 1;
    world.destinations.checkPathMtus();
    assert.equal(world.told.at(-1), "flush");
    world.want(0, "10.9.0.2");
    assert.match(world.told.at(-2) ?? "", /mtu 1300$/);
    world.entry(0).used = 1;
    world.destinations.checkPathMtus();
    assert.notEqual(world.told.at(-1), "flush");
  });

  it("is asked for again when news were lost", () => {
    const world = new World();
    world.neighbours.set("10.9.0.2", { state: rt.NUD_REACHABLE, mac: MAC });
    world.want(0, "10.9.0.2");
    world.neighbours.delete("10.9.0.2");
    world.destinations.neighborsUnknown();
    assert.equal(world.told.at(-1), "neighbour 10.9.0.2 unusable");
  });

  it("is forgotten with the routes", () => {
    const world = new World();
    world.neighbours.set("10.9.0.2", { state: rt.NUD_REACHABLE, mac: MAC });
    world.want(0, "10.9.0.2");
    world.destinations.flush();
    const count = world.told.length;
    world.news("10.9.0.2", rt.NUD_FAILED);
    assert.equal(world.told.length, count);
  });

  it("is the only kind that the stack hears of", () => {
    const world = new World();
    world.news("10.9.0.77", rt.NUD_REACHABLE);
    assert.deepEqual(world.told, []);
  });
});
