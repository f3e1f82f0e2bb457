import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import {
  formatStackAddress,
  ipv4BytesOf,
  isUnicastIpv4,
  macWordsOf,
  stackAddressOf,
} from "../../src/daemon/address.ts";
import * as rt from "../../src/daemon/netlink/route.ts";
import { chooseRoute, isUsableNeighbor, type RouteContext } from "../../src/daemon/route-choice.ts";

function ip(text: string): Buffer {
  return Buffer.from(text.split(".").map(Number));
}

const OURS = ip("10.9.0.1");
const PEER = ip("10.9.0.2");

const context: RouteContext = {
  slotOf: (ifindex) => (ifindex === 2 ? 7 : undefined),
  isLocal: (address) => address.equals(OURS) || address.equals(ip("10.9.0.11")),
};

function route(changes: Partial<rt.Route> = {}): rt.Route {
  return {
    type: rt.RTN_UNICAST,
    ifindex: 2,
    gateway: undefined,
    source: OURS,
    viaOtherFamily: false,
    mtu: 0,
    ...changes,
  };
}

function reasonAgainst(destination: Buffer, answer: rt.Route | undefined, source?: Buffer): string {
  const choice = chooseRoute(destination, source, answer, context);
  assert.equal(choice.accept, false);
  return choice.accept ? "" : choice.reason;
}

describe("a destination", () => {
  it("on the link is its own next hop", () => {
    const choice = chooseRoute(PEER, undefined, route(), context);
    assert.ok(choice.accept);
    assert.equal(choice.slot, 7);
    assert.deepEqual(choice.nextHop, PEER);
    assert.deepEqual(choice.source, OURS);
    assert.equal(choice.mtu, 0xffffffff);
  });

  it("behind a gateway is reached by it, with the route's MTU", () => {
    const gateway = ip("10.9.0.254");
    const choice = chooseRoute(ip("192.0.2.9"), undefined, route({ gateway, mtu: 1400 }), context);
    assert.ok(choice.accept);
    assert.deepEqual(choice.nextHop, gateway);
    assert.equal(choice.mtu, 1400);
  });

  it("is sent to from the address that the socket insists on", () => {
    const choice = chooseRoute(PEER, ip("10.9.0.11"), route(), context);
    assert.ok(choice.accept);
    assert.deepEqual(choice.source, ip("10.9.0.11"));
  });

  it("is the kernel's when it is loopback, multicast or broadcast", () => {
    for (const address of ["127.0.0.1", "224.0.0.1", "239.1.2.3", "255.255.255.255", "0.0.0.0"]) {
      assert.match(reasonAgainst(ip(address), route()), /unicast/);
    }
    assert.match(reasonAgainst(ip("10.9.0.255"), route({ type: 3 })), /not unicast/);
  });

  it("is the kernel's without a route, so that its error reaches the program", () => {
    assert.match(reasonAgainst(ip("8.8.8.8"), undefined), /no route/);
  });

  it("is the kernel's when it is this host", () => {
    assert.match(reasonAgainst(OURS, route({ type: 2 })), /not unicast/);
    assert.match(reasonAgainst(OURS, route()), /this host/);
  });

  it("is the kernel's when it leaves by another interface", () => {
    assert.match(reasonAgainst(PEER, route({ ifindex: 3 })), /another interface/);
  });

  it("is the kernel's when the source address is not this host's", () => {
    assert.match(reasonAgainst(PEER, route({ source: undefined })), /source/);
    assert.match(reasonAgainst(PEER, route(), ip("10.9.0.99")), /source/);
  });

  it("is the kernel's when the next hop is an IPv6 address", () => {
    assert.match(reasonAgainst(PEER, route({ viaOtherFamily: true })), /next hop/);
  });
});

describe("a neighbour", () => {
  const mac = Buffer.from("02000000000b", "hex");
  const inState = (state: number) => ({ ifindex: 2, state, address: PEER, mac });

  it("can be sent to when its address is confirmed or was until lately", () => {
    for (const state of [
      rt.NUD_REACHABLE,
      rt.NUD_STALE,
      rt.NUD_DELAY,
      rt.NUD_PROBE,
      rt.NUD_PERMANENT,
    ]) {
      assert.equal(isUsableNeighbor(inState(state)), true);
    }
  });

  it("can't be sent to when it is unknown, did not answer, or has no hardware address", () => {
    for (const state of [0, rt.NUD_INCOMPLETE, rt.NUD_FAILED, rt.NUD_NOARP]) {
      assert.equal(isUsableNeighbor(inState(state)), false);
    }
    assert.equal(isUsableNeighbor({ ...inState(rt.NUD_REACHABLE), mac: undefined }), false);
  });
});

describe("an address", () => {
  const address = fc.uint8Array({ minLength: 4, maxLength: 4 }).map((bytes) => Buffer.from(bytes));

  it("survives the way into the stack's form and back", () => {
    fc.assert(
      fc.property(address, (bytes) => {
        assert.deepEqual(ipv4BytesOf(stackAddressOf(bytes)), bytes);
      }),
    );
  });

  it("is laid out in memory as an IPv4-mapped IPv6 address, RFC 4291 2.5.5.2", () => {
    const { hi, lo } = stackAddressOf(ip("192.0.2.1"));
    const bytes = Buffer.alloc(16);
    bytes.writeBigUInt64LE(hi, 0);
    bytes.writeBigUInt64LE(lo, 8);
    assert.equal(bytes.toString("hex"), "00000000000000000000ffffc0000201");
  });

  it("of IPv6 is not taken for IPv4", () => {
    assert.equal(ipv4BytesOf({ hi: 1n, lo: 0xffff0000n }), undefined);
    assert.equal(ipv4BytesOf({ hi: 0n, lo: 1n }), undefined);
  });

  it("is shown as people write it", () => {
    assert.equal(formatStackAddress(stackAddressOf(ip("192.0.2.1"))), "192.0.2.1");
    assert.equal(formatStackAddress({ hi: 0n, lo: 0n }), "*");
  });

  it("is unicast or not by its first byte", () => {
    assert.equal(isUnicastIpv4(ip("223.255.255.255")), true);
    assert.equal(isUnicastIpv4(ip("224.0.0.0")), false);
    assert.equal(isUnicastIpv4(ip("127.9.9.9")), false);
  });

  it("of hardware becomes a word and a half", () => {
    const words = macWordsOf(Buffer.from("0102030405ff", "hex"));
    assert.deepEqual(words, { low: 0x04030201, high: 0xff05 });
  });
});
