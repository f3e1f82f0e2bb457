// Who may bind what when accelerated and ordinary programs of one host want the same port: the
// kernel is the judge, whoever came first.

import { ANY_ADDRESS } from "../support/builders.ts";
import type { Calls } from "../support/calls.ts";
import { type Scene, scenario } from "../support/scenario.ts";
import { listen } from "../support/tcp.ts";

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

async function open(calls: Calls, kind: Kind, option: string, address: string, port: number) {
  const fd = await calls.socket(kind);
  if (option !== "") await calls.setsockopt(fd, "SOL_SOCKET", option, 1);
  const { result } = await calls.either.bind(fd, { address, port });
  if (kind === "SOCK_STREAM" && result === 0) await listen(calls.either, fd);
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
      const { port } = await first.getsockname(a);
      const b = await open(second, kind, secondOption, secondAddress, port);
      await second.close(b);
      await first.close(a);
      // The port is free again for whoever wants it alone.
      const c = await open(second, kind, "", secondAddress, port);
      await second.close(c);
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
