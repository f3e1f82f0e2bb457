// Who may bind what when accelerated and ordinary programs of one host want the same port: the
// kernel is the judge, whoever came first.

import { until } from "../../src/lab/program.ts";
import { ANY_ADDRESS, PATIENCE_MILLIS } from "../support/builders.ts";
import type { Calls } from "../support/calls.ts";
import { poll } from "../support/readiness.ts";
import { type Scene, scenario } from "../support/scenario.ts";
import { listen } from "../support/tcp.ts";
import type { Address } from "../support/transcript.ts";

type Kind = "SOCK_DGRAM" | "SOCK_STREAM";

/** Options of the first and of the second socket. */
const OPTIONS: readonly (readonly [string, string])[] = [
  ["", ""],
  ["SO_REUSEADDR", "SO_REUSEADDR"],
  ["SO_REUSEADDR", ""],
  ["SO_REUSEPORT", "SO_REUSEPORT"],
  ["SO_REUSEPORT", ""],
  ["SO_REUSEPORT", "SO_REUSEADDR"],
];

/**
 * Opens a socket there, and tells how that went. The port is not told: the kernel may give out the
 * same one twice, or not.
 */
async function open(calls: Calls, kind: Kind, option: string, address: string, port: number) {
  const quiet = calls.untold;
  const fd = await quiet.socket(kind);
  if (option !== "") await quiet.setsockopt(fd, "SOL_SOCKET", option, 1);
  const steps = [await quiet.bind(fd, { address, port })];
  if (kind === "SOCK_STREAM" && steps[0]?.result === 0) steps.push(await listen(quiet, fd));
  const results = steps.map(({ result, error }) => (result === 0 ? "done" : error));
  calls.note(`${kind} ${option} at ${address}: ${results.join(", ")}`);
  return fd;
}

async function conflicts(scene: Scene, kind: Kind, first: Calls, second: Calls): Promise<void> {
  const own = scene.left.address;
  const places = [
    [own, own],
    [ANY_ADDRESS, own],
    [own, ANY_ADDRESS],
    [ANY_ADDRESS, ANY_ADDRESS],
    [own, "127.0.0.1"],
  ] as const;
  for (const [firstAddress, secondAddress] of places) {
    for (const [firstOption, secondOption] of OPTIONS) {
      const a = await open(first, kind, firstOption, firstAddress, 0);
      const { port } = await first.untold.getsockname(a);
      const b = await open(second, kind, secondOption, secondAddress, port);
      await second.untold.close(b);
      await first.untold.close(a);
      // The port is free again for whoever wants it alone.
      const c = await open(second, kind, "", secondAddress, port);
      await second.untold.close(c);
    }
  }
}

for (const kind of ["SOCK_DGRAM", "SOCK_STREAM"] as const) {
  scenario(`${kind}: an ordinary program meets ports of an accelerated one`, async (scene) => {
    const [subject, other] = [await scene.subject(), await scene.start("ordinary")];
    await conflicts(scene, kind, subject, other);
  });

  scenario(`${kind}: an accelerated program meets ports of an ordinary one`, async (scene) => {
    const [subject, other] = [await scene.subject(), await scene.start("ordinary")];
    await conflicts(scene, kind, other, subject);
  });

  scenario(`${kind}: two accelerated programs meet`, async (scene) => {
    const subject = await scene.subject();
    const other = await scene.start("other", { accelerated: true });
    await conflicts(scene, kind, subject, other);
  });
}

const FLOWS = 40;

/** Who of these sockets gets the next flow from the peer; every one is taken off. */
async function nextOwner(
  kind: Kind,
  peer: Calls,
  at: Address,
  members: readonly { name: string; calls: Calls; fd: number }[],
): Promise<string> {
  const fd = await peer.untold.socket(kind);
  await peer.untold.connect(fd, at);
  await peer.untold.send(fd, "a flow");
  let owner = "";
  await until("somebody to get it", async () => {
    for (const { name, calls, fd: own } of members) {
      const what = kind === "SOCK_STREAM" ? "accept" : "recv";
      const reply =
        what === "accept"
          ? await calls.untold.make("accept", [own, 0, 0], "")
          : await calls.untold.recv(own, 100, "MSG_DONTWAIT");
      if (reply.result < 0) continue;
      owner = name;
      if (what === "accept") await calls.untold.close(reply.result);
    }
    return owner !== "";
  });
  await peer.untold.close(fd);
  return owner;
}

async function member(calls: Calls, kind: Kind, name: string, option: string, at: Address) {
  const fd = await calls.socket(`${kind}|SOCK_NONBLOCK`);
  await calls.setsockopt(fd, "SOL_SOCKET", option, 1);
  await calls.bind(fd, at);
  if (kind === "SOCK_STREAM") await listen(calls, fd);
  return { name, calls, fd };
}

for (const kind of ["SOCK_DGRAM", "SOCK_STREAM"] as const) {
  scenario(
    `${kind}: an accelerated and an ordinary program share a port's flows`,
    async (scene) => {
      const [subject, other] = [await scene.subject(), await scene.start("ordinary")];
      const peer = await scene.peer();
      const any = { address: ANY_ADDRESS, port: 0 };
      const first = await member(subject, kind, "subject", "SO_REUSEPORT", any);
      const at = await subject.getsockname(first.fd);
      const there = { address: scene.left.address, port: at.port };
      // A flow of the first one's, before there is another.
      const early = await peer.socket(kind);
      await peer.connect(early, there);
      await peer.send(early, "early");
      let mine = first.fd;
      if (kind === "SOCK_STREAM") {
        await poll(subject, [[first.fd, "POLLIN"]], PATIENCE_MILLIS);
        mine = (await subject.make("accept", [first.fd, 0, 0], "early")).result;
      }
      await poll(subject, [[mine, "POLLIN"]], PATIENCE_MILLIS);
      await subject.recv(mine);
      const second = await member(other, kind, "ordinary", "SO_REUSEPORT", at);
      // exasockd has to notice that somebody else is there.
      await until("the ordinary program to get a flow", async () => {
        return (await nextOwner(kind, peer, there, [first, second])) === "ordinary";
      });
      const owners = new Map<string, number>();
      for (let flow = 0; flow < FLOWS; flow++) {
        const owner = await nextOwner(kind, peer, there, [first, second]);
        owners.set(owner, (owners.get(owner) ?? 0) + 1);
      }
      // Each gets a flow with probability 1/2: fewer than 5 of 40 come once in some million runs.
      for (const { name, calls } of [first, second]) {
        calls.note((owners.get(name) ?? 0) >= 5 ? "gets its share" : `gets ${owners.get(name)}`);
      }
      if (kind === "SOCK_DGRAM") return;
      await peer.send(early, "still here");
      await poll(subject, [[mine, "POLLIN"]], PATIENCE_MILLIS);
      await subject.recv(mine);
      await subject.send(mine, "and here");
      await peer.recv(early);
    },
  );
}

scenario("an ordinary socket at an address takes from an accelerated wildcard", async (scene) => {
  const [subject, other] = [await scene.subject(), await scene.start("ordinary")];
  const peer = await scene.peer();
  const any = { address: ANY_ADDRESS, port: 0 };
  const first = await member(subject, "SOCK_DGRAM", "subject", "SO_REUSEADDR", any);
  const { port } = await subject.getsockname(first.fd);
  const there = { address: scene.left.address, port };
  subject.note(`${await nextOwner("SOCK_DGRAM", peer, there, [first])} alone`);
  const second = await member(other, "SOCK_DGRAM", "ordinary", "SO_REUSEADDR", there);
  await until("the ordinary program to get a flow", async () => {
    return (await nextOwner("SOCK_DGRAM", peer, there, [first, second])) === "ordinary";
  });
  const near = await scene.start("near", { accelerated: true });
  near.note(await nextOwner("SOCK_DGRAM", near, there, [first, second]));
  for (let flow = 0; flow < 8; flow++) {
    subject.note(await nextOwner("SOCK_DGRAM", peer, there, [first, second]));
  }
});
