// The network changes under running programs. The kernel is the oracle: what it does to sockets
// when a link goes down, an address vanishes or a neighbour gets another card, exasock does too.

import type { Host } from "../../src/lab/network.ts";
import {
  ANY_ADDRESS,
  bound,
  conversation,
  type Endpoint,
  MOMENT_MILLIS,
  PATIENCE_MILLIS,
} from "../support/builders.ts";
import { poll } from "../support/readiness.ts";
import { type Scene, scenario } from "../support/scenario.ts";

const ATTEMPTS = 100;

function setLink(host: Host, ...settings: string[]): Promise<unknown> {
  return host.run(["ip", "link", "set", host.interfaceName, ...settings]);
}

/** Takes an interface down and up again, and waits until frames pass. */
async function bounce(host: Host): Promise<void> {
  await setLink(host, "down");
  await setLink(host, "up");
}

/** Asks until an answer comes: ARP starts afresh after a change, and a datagram may be lost to it. */
async function talk(a: Endpoint, p: Endpoint, what: string): Promise<void> {
  const [asker, answerer] = [p.calls.untold, a.calls.untold];
  for (let i = 0; i < ATTEMPTS; i++) {
    await asker.sendto(p.fd, what, { ...a.at, address: await reachable(a) });
    await poll(answerer, [[a.fd, "POLLIN"]], MOMENT_MILLIS);
    const { from, result } = await answerer.recvfrom(a.fd, 100, "MSG_DONTWAIT");
    if (result < 0 || !from) continue;
    await answerer.sendto(a.fd, `answer to ${what}`, from);
    await poll(asker, [[p.fd, "POLLIN"]], MOMENT_MILLIS);
    const { data } = await asker.recv(p.fd, 100, "MSG_DONTWAIT");
    if (!data.toString().startsWith("answer")) continue;
    p.calls.note(`got the answer to ${what}`);
    return drain(a, p);
  }
  p.calls.note(`got no answer to ${what}`);
}

const hostAddresses = new WeakMap<Endpoint, string>();

async function reachable(a: Endpoint): Promise<string> {
  return hostAddresses.get(a) ?? a.at.address;
}

/** Takes what repeated questions have left. */
async function drain(...ends: Endpoint[]): Promise<void> {
  for (const { calls, fd } of ends) {
    while ((await calls.untold.recv(fd, 100, "MSG_DONTWAIT")).result >= 0);
  }
}

async function wildcardConversation(scene: Scene): Promise<[Endpoint, Endpoint]> {
  const a = await bound(await scene.subject(), ANY_ADDRESS);
  hostAddresses.set(a, scene.left.address);
  return [a, await bound(await scene.peer(), scene.right.address)];
}

scenario(
  "the interface goes down and up: sockets are heard again",
  async (scene) => {
    const [a, p] = await conversation(scene);
    await talk(a, p, "before");
    await bounce(scene.left);
    await talk(a, p, "after");
  },
  { bypass: { received: 1 } },
);

scenario(
  "while the interface is down, sending says that the network is unreachable",
  async (scene) => {
    const [a, p] = await conversation(scene);
    await talk(a, p, "before");
    await setLink(scene.left, "down");
    await a.calls.expecting("ENETUNREACH").sendto(a.fd, "into the void", p.at);
    await setLink(scene.left, "up");
    await talk(a, p, "after");
  },
);

scenario(
  "a receiver that is blocked while the interface goes down and up goes on",
  async (scene) => {
    const [a, p] = await conversation(scene);
    const waiting = a.calls.inThread.recv(a.fd);
    await poll(a.calls, [], MOMENT_MILLIS);
    await bounce(scene.left);
    for (let i = 0; i < 5; i++) {
      await p.calls.untold.sendto(p.fd, "after the interruption", a.at);
      await poll(p.calls.untold, [], MOMENT_MILLIS);
    }
    await waiting;
  },
);

scenario("the peer's interface goes down and up", async (scene) => {
  const [a, p] = await conversation(scene);
  await talk(a, p, "before");
  await bounce(scene.right);
  await talk(a, p, "after");
});

scenario("what was queued before the interface went down is received after it", async (scene) => {
  const [a, p] = await conversation(scene);
  for (const text of ["one", "two", "three"]) await p.calls.sendto(p.fd, text, a.at);
  await poll(a.calls, [[a.fd, "POLLIN"]], PATIENCE_MILLIS);
  await setLink(scene.left, "down");
  for (let i = 0; i < 3; i++) await a.calls.recvfrom(a.fd);
  await setLink(scene.left, "up");
  await talk(a, p, "after");
});

scenario("the address is removed and comes back", async (scene) => {
  const [a, p] = await conversation(scene);
  await talk(a, p, "before");
  const { address, interfaceName } = scene.left;
  await scene.left.run(["ip", "addr", "del", `${address}/24`, "dev", interfaceName]);
  // exasockd hears of it a moment later than the kernel's own sockets.
  await poll(a.calls, [], MOMENT_MILLIS);
  await p.calls.untold.sendto(p.fd, "to nobody", a.at);
  await poll(a.calls, [[a.fd, "POLLIN"]], MOMENT_MILLIS);
  await a.calls.either.sendto(a.fd, "from an address that is gone", p.at);
  await a.calls.expecting("EADDRNOTAVAIL").bind(await a.calls.socket(), { address, port: 0 });
  await scene.left.run(["ip", "addr", "add", `${address}/24`, "brd", "+", "dev", interfaceName]);
  await talk(a, p, "after");
});

scenario("a wildcard socket loses one address and keeps the other", async (scene) => {
  const [a, p] = await wildcardConversation(scene);
  const second = "10.77.0.98";
  const { interfaceName } = scene.left;
  await scene.left.run(["ip", "addr", "add", `${second}/24`, "dev", interfaceName]);
  await talk(a, p, "the first");
  hostAddresses.set(a, second);
  await talk(a, p, "the second");
  await scene.left.run(["ip", "addr", "del", `${second}/24`, "dev", interfaceName]);
  await poll(a.calls, [], MOMENT_MILLIS);
  await p.calls.untold.sendto(p.fd, "to nobody", { ...a.at, address: second });
  await poll(a.calls, [[a.fd, "POLLIN"]], MOMENT_MILLIS);
  hostAddresses.set(a, scene.left.address);
  await talk(a, p, "the first again");
});

scenario("a route to the peer comes and goes", async (scene) => {
  const [a, p] = await conversation(scene);
  const far = { address: "192.0.2.50", port: p.at.port };
  await scene.right.run(["ip", "addr", "add", `${far.address}/32`, "dev", "lo"]);
  await a.calls.expecting("ENETUNREACH").sendto(a.fd, "no way", far);
  const route = ["192.0.2.0/24", "via", scene.right.address];
  await scene.left.run(["ip", "route", "add", ...route]);
  const any = await bound(p.calls, ANY_ADDRESS);
  await a.calls.sendto(a.fd, "by the route", { ...far, port: any.at.port });
  await p.calls.recvfrom(any.fd);
  await a.calls.sendto(a.fd, "by the route again", { ...far, port: any.at.port });
  await p.calls.recvfrom(any.fd);
  await scene.left.run(["ip", "route", "del", ...route]);
  await scene.right.run(["ip", "addr", "del", `${far.address}/32`, "dev", "lo"]);
  await a.calls.expecting("ENETUNREACH").sendto(a.fd, "no way", far);
});

scenario("the peer gets another MAC address", async (scene) => {
  const [a, p] = await conversation(scene);
  await talk(a, p, "before");
  const { macAddress } = scene.right.attachment;
  await setLink(scene.right, "address", "02:00:0a:4d:00:77");
  await scene.left.run(["ip", "neigh", "flush", "all"]);
  await talk(a, p, "after");
  await setLink(scene.right, "address", macAddress);
  await scene.left.run(["ip", "neigh", "flush", "all"]);
  await talk(a, p, "the first one again");
});

scenario("the host itself gets another MAC address", async (scene) => {
  const [a, p] = await conversation(scene);
  await talk(a, p, "before");
  const { macAddress } = scene.left.attachment;
  await setLink(scene.left, "address", "02:00:0a:4d:00:78");
  await scene.right.run(["ip", "neigh", "flush", "all"]);
  await talk(a, p, "after");
  await setLink(scene.left, "address", macAddress);
  await scene.right.run(["ip", "neigh", "flush", "all"]);
  await talk(a, p, "the first one again");
});

scenario("a smaller MTU lets long datagrams go in fragments", async (scene) => {
  const [a, p] = await conversation(scene);
  for (const mtu of ["1000", "1500"]) {
    await setLink(scene.left, "mtu", mtu);
    await setLink(scene.right, "mtu", mtu);
    for (const length of [900, 1100, 1400]) {
      await a.calls.sendto(a.fd, "x".repeat(length), p.at);
      await p.calls.recv(p.fd);
      await p.calls.sendto(p.fd, "x".repeat(length), a.at);
      await poll(a.calls, [[a.fd, "POLLIN"]], PATIENCE_MILLIS);
      await a.calls.recv(a.fd);
    }
  }
});
