// A host with two links: sockets hear both, and destinations are reached over the right one.

import { ANY_ADDRESS, bound, type Endpoint } from "../support/builders.ts";
import { type Scene, scenario, useNetwork } from "../support/scenario.ts";
import type { Address } from "../support/transcript.ts";

useNetwork({
  links: [
    ["left", "right"],
    ["left", "aside"],
  ],
});

interface Cast {
  a: Endpoint;
  right: Endpoint;
  aside: Endpoint;
  /** The subject's addresses as the two neighbours see them. */
  fromRight: Address;
  fromAside: Address;
}

async function cast(scene: Scene): Promise<Cast> {
  const a = await bound(await scene.subject(), ANY_ADDRESS);
  const end = async (host: string) => {
    return await bound(await scene.start(host, { host }), scene.host(host).address);
  };
  const [first, second] = scene.left.attachments.map(({ address }) => ({ ...a.at, address }));
  if (!first || !second) throw new Error("the left host has two links");
  const ends = { right: await end("right"), aside: await end("aside") };
  return { a, ...ends, fromRight: first, fromAside: second };
}

scenario(
  "a wildcard socket hears and answers on both links",
  async (scene) => {
    const { a, right, aside, fromRight, fromAside } = await cast(scene);
    for (let i = 0; i < 3; i++) {
      for (const [end, at] of [[right, fromRight] as const, [aside, fromAside] as const]) {
        await end.calls.sendto(end.fd, `question ${i}`, at);
        const { from } = await a.calls.recvfrom(a.fd);
        if (from) await a.calls.sendto(a.fd, `answer ${i}`, from);
        await end.calls.recvfrom(end.fd);
      }
    }
  },
  { bypass: { received: 6 } },
);

scenario("a socket bound to one link's address is reached over the other link", async (scene) => {
  const { a, aside } = await cast(scene);
  const far = scene.left.address;
  const b = await bound(a.calls, far);
  await scene.host("aside").run(["ip", "route", "replace", far, "via", "10.77.1.1"]);
  await aside.calls.sendto(aside.fd, "to the other side", b.at);
  await b.calls.recvfrom(b.fd);
  await b.calls.sendto(b.fd, "from the other side", aside.at);
  await aside.calls.recvfrom(aside.fd);
});

scenario("SO_BINDTODEVICE keeps a socket to one link", async (scene) => {
  const { a, right, aside, fromRight, fromAside } = await cast(scene);
  const name = Buffer.from(`${scene.left.attachments[1]?.interfaceName}\0`);
  await a.calls.setsockopt(a.fd, "SOL_SOCKET", "SO_BINDTODEVICE", name);
  await right.calls.connect(right.fd, fromRight);
  await right.calls.send(right.fd, "not heard");
  await right.calls.expecting("ECONNREFUSED").recv(right.fd);
  await aside.calls.sendto(aside.fd, "heard", fromAside);
  await a.calls.recvfrom(a.fd);
  await a.calls.sendto(a.fd, "answer", aside.at);
  await aside.calls.recvfrom(aside.fd);
});

scenario("a host in between forwards what is not for itself", async (scene) => {
  const enable = ["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"];
  await scene.left.run(enable);
  const [toRight, toAside] = ["10.77.0.0/24", "10.77.1.0/24"];
  await scene.host("right").run(["ip", "route", "replace", toAside, "via", "10.77.0.1"]);
  await scene.host("aside").run(["ip", "route", "replace", toRight, "via", "10.77.1.1"]);
  const { a, right, aside, fromRight } = await cast(scene);
  await right.calls.sendto(right.fd, "through the middle", aside.at);
  await aside.calls.recvfrom(aside.fd);
  await right.calls.sendto(right.fd, "to the middle", fromRight);
  await a.calls.recvfrom(a.fd);
});
