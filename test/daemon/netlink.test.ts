import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import fc from "fast-check";
import * as msg from "../../src/daemon/netlink/message.ts";
import * as rt from "../../src/daemon/netlink/route.ts";
import * as diag from "../../src/daemon/netlink/sock-diag.ts";

/**
 * Messages of a real kernel (6.18) about a namespace with lo and v0 (a veth with 10.9.0.1/24, its
 * peer 10.9.0.2), captured with exasockd's own requests.
 */
const captures = JSON.parse(
  readFileSync(new URL("captures/netlink.json", import.meta.url), "utf8"),
) as Record<string, string>;

function captured(name: string): Buffer {
  const hex = captures[name];
  assert.ok(hex, `no capture ${name}`);
  return Buffer.from(hex, "hex");
}

function messages(name: string): msg.NetlinkMessage[] {
  const decoded = msg.decodeMessages(captured(name));
  assert.equal(decoded.malformed, false);
  return decoded.messages;
}

function first(name: string): msg.NetlinkMessage {
  const [message] = messages(name);
  assert.ok(message);
  return message;
}

const payload = fc.uint8Array({ maxLength: 64 }).map((bytes) => Buffer.from(bytes));
const u16 = fc.nat(0xffff);
const u32 = fc.nat(0xffffffff);

describe("netlink framing", () => {
  it("reads back the messages that it wrote, in order", () => {
    const message = fc.record(
      { type: u16, flags: u16, sequence: u32, payload },
      { noNullPrototype: true },
    );
    fc.assert(
      fc.property(fc.array(message, { maxLength: 8 }), (list) => {
        const padded = list.map((one) => {
          const bytes = msg.encodeMessage(one.type, one.flags, one.sequence, one.payload);
          return Buffer.concat([bytes, Buffer.alloc(-bytes.length & 3)]);
        });
        const decoded = msg.decodeMessages(Buffer.concat(padded));
        assert.equal(decoded.malformed, false);
        assert.deepEqual(decoded.messages, list);
      }),
    );
  });

  it("reads back the attributes that it wrote", () => {
    const attribute = fc.tuple(fc.nat(0x3fff), payload);
    fc.assert(
      fc.property(fc.uniqueArray(attribute, { selector: ([type]) => type }), (list) => {
        const bytes = Buffer.concat(list.map(([type, value]) => msg.encodeAttribute(type, value)));
        assert.deepEqual([...msg.decodeAttributes(bytes)], list);
      }),
    );
  });

  it("takes any bytes without an exception or a read outside them", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 256 }), (bytes) => {
        const decoded = msg.decodeMessages(Buffer.from(bytes));
        const read = decoded.messages.reduce((sum, one) => sum + 16 + one.payload.length, 0);
        assert.ok(read <= bytes.length);
        for (const message of decoded.messages) decodeAll(message);
        msg.decodeAttributes(Buffer.from(bytes));
      }),
      { numRuns: 2000 },
    );
  });

  it("leaves out a message whose length lies", () => {
    const good = msg.encodeMessage(1, 0, 1, Buffer.alloc(8));
    for (const length of [0, 15, 25, 0xffffffff]) {
      const bad = Buffer.from(good);
      bad.writeUInt32LE(length, 0);
      const decoded = msg.decodeMessages(Buffer.concat([good, bad]));
      assert.equal(decoded.malformed, true);
      assert.equal(decoded.messages.length, 1);
    }
  });
});

/** Every decoder on one message: none may throw. */
function decodeAll(message: msg.NetlinkMessage): void {
  rt.decodeLink(message);
  rt.decodeAddress(message);
  rt.decodeRoute(message);
  rt.decodeNeighbor(message);
  diag.decodeDiagSocket(message);
  msg.errorOf(message);
}

describe("netlink messages of a real kernel", () => {
  it("tell an interface's name, kind, addresses and queues", () => {
    const link = rt.decodeLink(first("link"));
    assert.ok(link);
    assert.equal(link.name, "v0");
    assert.equal(link.kind, "veth");
    assert.equal(link.ifindex, 2);
    assert.equal(link.hardwareType, rt.ARPHRD_ETHER);
    assert.equal(link.mtu, 1500);
    assert.equal(link.mac.toString("hex"), "02000000000a");
    assert.equal(link.master, 0);
    assert.equal(link.rxQueues, 2);
    assert.ok(link.flags & rt.IFF_UP);
  });

  it("tell loopback apart from Ethernet", () => {
    const link = rt.decodeLink(first("loopback"));
    assert.equal(link?.kind, "");
    assert.notEqual(link?.hardwareType, rt.ARPHRD_ETHER);
  });

  it("tell addresses with their prefix", () => {
    const addresses = messages("addresses").map(rt.decodeAddress);
    assert.deepEqual(
      addresses.map((one) => [one?.ifindex, one?.local.join("."), one?.prefixLength]),
      [
        [1, "127.0.0.1", 8],
        [2, "10.9.0.1", 24],
      ],
    );
  });

  it("tell a route on the link", () => {
    const route = rt.decodeRoute(first("routeDirect"));
    assert.equal(route?.type, rt.RTN_UNICAST);
    assert.equal(route?.ifindex, 2);
    assert.equal(route?.gateway, undefined);
    assert.equal(route?.source?.join("."), "10.9.0.1");
    assert.equal(route?.mtu, 0);
  });

  it("tell a gateway and a route's own MTU", () => {
    const route = rt.decodeRoute(first("routeGateway"));
    assert.equal(route?.gateway?.join("."), "10.9.0.2");
    assert.equal(route?.mtu, 1400);
  });

  it("tell local and broadcast routes from unicast ones", () => {
    assert.notEqual(rt.decodeRoute(first("routeLocal"))?.type, rt.RTN_UNICAST);
    assert.notEqual(rt.decodeRoute(first("routeBroadcast"))?.type, rt.RTN_UNICAST);
  });

  it("tell why there is no route", () => {
    const [message] = messages("routeNone");
    assert.equal(message?.type, msg.NLMSG_ERROR);
    assert.equal(message && msg.errorOf(message), 101); // ENETUNREACH
  });

  it("tell a neighbour, that there is none, and that a request was carried out", () => {
    const neighbor = rt.decodeNeighbor(first("neighbor"));
    assert.equal(neighbor?.address.join("."), "10.9.0.2");
    assert.equal(neighbor?.mac?.toString("hex"), "02000000000b");
    assert.ok((neighbor?.state ?? 0) & rt.NUD_VALID);
    assert.equal(msg.errorOf(first("neighborNone")), 2); // ENOENT
    assert.equal(msg.errorOf(first("acknowledged")), 0);
  });

  it("tell a UDP socket's cookie and port", () => {
    const socket = diag.decodeDiagSocket(first("udpSocket"));
    assert.equal(socket?.localPort, 4321);
    assert.notEqual(socket?.cookie, 0n);
  });

  it("are taken cut at any byte", () => {
    for (const name of Object.keys(captures)) {
      const whole = captured(name);
      for (let end = 0; end < whole.length; end++) {
        const cut = Buffer.from(whole.subarray(0, end));
        for (const message of msg.decodeMessages(cut).messages) decodeAll(message);
        // And with a header that admits the cut.
        if (end >= 16) {
          cut.writeUInt32LE(end, 0);
          for (const message of msg.decodeMessages(cut).messages) decodeAll(message);
        }
      }
    }
  });
});

describe("netlink requests", () => {
  const address = fc.uint8Array({ minLength: 4, maxLength: 4 }).map((bytes) => Buffer.from(bytes));

  it("carry what a route is asked for", () => {
    fc.assert(
      fc.property(u32, address, address, fc.nat(1000), (sequence, destination, source, ifindex) => {
        const bytes = rt.encodeRouteGet(sequence, { destination, source, ifindex });
        const [message] = msg.decodeMessages(bytes).messages;
        assert.ok(message);
        assert.equal(message.type, rt.RTM_GETROUTE);
        assert.equal(message.sequence, sequence);
        const attributes = msg.decodeAttributes(message.payload, 12);
        assert.deepEqual(attributes.get(1), destination);
        assert.deepEqual(attributes.get(2), source);
        assert.equal(msg.uint32Of(attributes, 4), ifindex === 0 ? undefined : ifindex);
      }),
    );
  });

  it("name a neighbour so that it decodes as one", () => {
    fc.assert(
      fc.property(fc.nat(0x7fffffff), address, (ifindex, target) => {
        for (const encode of [rt.encodeNeighborGet, rt.encodeNeighborUse]) {
          const [message] = msg.decodeMessages(encode(1, ifindex, target)).messages;
          assert.ok(message);
          const neighbor = rt.decodeNeighbor(message);
          assert.equal(neighbor?.ifindex, ifindex);
          assert.deepEqual(neighbor?.address, target);
        }
      }),
    );
  });
});
