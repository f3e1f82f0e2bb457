// A host with two links of which only one is accelerated.

import { ANY_ADDRESS, bound } from "../support/builders.ts";
import { type Scene, scenario, useNetwork } from "../support/scenario.ts";

useNetwork(
  {
    links: [
      ["left", "right"],
      ["left", "aside"],
    ],
  },
  ["--interfaces=veth0"],
);

async function ends(scene: Scene) {
  const a = await bound(await scene.subject(), ANY_ADDRESS);
  const aside = await bound(
    await scene.start("aside", { host: "aside" }),
    scene.host("aside").address,
  );
  return { a, aside };
}

scenario("what lies behind the other interface is reached by the kernel", async (scene) => {
  const { a, aside } = await ends(scene);
  await a.calls.sendto(a.fd, "question", aside.at);
  const { from } = await aside.calls.recvfrom(aside.fd);
  if (from) await aside.calls.sendto(aside.fd, "answer", from);
  await a.calls.recvfrom(a.fd);
});

scenario("a socket can be connected to what lies behind the other interface", async (scene) => {
  const { a, aside } = await ends(scene);
  const b = await a.calls.socket();
  await a.calls.connect(b, aside.at);
  await a.calls.getsockname(b);
  await a.calls.send(b, "question");
  const { from } = await aside.calls.recvfrom(aside.fd);
  if (from) await aside.calls.sendto(aside.fd, "answer", from);
  await a.calls.recv(b);
});

scenario(
  "a socket serves both interfaces at the same time",
  async (scene) => {
    const { a, aside } = await ends(scene);
    const p = await bound(await scene.peer(), scene.right.address);
    const [fast, slow] = scene.left.attachments.map(({ address }) => ({ ...a.at, address }));
    if (!fast || !slow) throw new Error("the left host has two links");
    for (const [end, to] of [
      [p, fast],
      [aside, slow],
      [p, fast],
    ] as const) {
      await end.calls.sendto(end.fd, "question", to);
      const { from } = await a.calls.recvfrom(a.fd);
      if (from) await a.calls.sendto(a.fd, "answer", from);
      await end.calls.recvfrom(end.fd);
    }
  },
  { bypass: { received: 2, kernelReceived: 1 } },
);
