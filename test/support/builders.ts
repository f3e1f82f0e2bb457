// The beginnings that many scenarios share.

import { until } from "../../src/lab/program.ts";
import type { Calls } from "./calls.ts";
import { poll } from "./readiness.ts";
import type { Scene } from "./scenario.ts";
import type { Address } from "./transcript.ts";

export const ANY_ADDRESS = "0.0.0.0";
/** Long enough for a datagram that is on its way; a scenario that waits so long has failed. */
export const PATIENCE_MILLIS = 2000;
/** Long enough to show that a call waits, short enough to be waited for. */
export const MOMENT_MILLIS = 60;

export interface Endpoint {
  calls: Calls;
  fd: number;
  at: Address;
}

/** A datagram socket bound to a port of the kernel's choice. */
export async function bound(calls: Calls, address: string, type = "SOCK_DGRAM"): Promise<Endpoint> {
  const fd = await calls.socket(type);
  await calls.bind(fd, { address, port: 0 });
  return { calls, fd, at: await calls.getsockname(fd) };
}

/** The subject's socket on the left, the peer's on the right, both bound to their host's address. */
export async function conversation(scene: Scene, type?: string): Promise<[Endpoint, Endpoint]> {
  const subject = await scene.subject();
  const peer = await scene.peer();
  return [await bound(subject, scene.left.address, type), await bound(peer, scene.right.address)];
}

/** As conversation, both sockets connected to each other. */
export async function connected(scene: Scene, type?: string): Promise<[Endpoint, Endpoint]> {
  const [a, p] = await conversation(scene, type);
  await a.calls.connect(a.fd, p.at);
  await p.calls.connect(p.fd, a.at);
  return [a, p];
}

/** A port on the host at which nobody listens (it was the caller's a moment ago). */
export async function unusedPort(calls: Calls, address: string): Promise<Address> {
  const { fd, at } = await bound(calls, address);
  await calls.close(fd);
  return at;
}

/** Waits until a datagram can be read. */
export async function readable({ calls, fd }: Endpoint): Promise<void> {
  await poll(calls, [[fd, "POLLIN"]], PATIENCE_MILLIS);
}

/**
 * Sends from a connected socket until the other host refuses. The kernel refuses the first datagram
 * after a socket has vanished; exasockd hears of the end of a program or of an exec a moment later.
 */
export async function refused({ calls, fd }: Endpoint): Promise<void> {
  let isRefused = false;
  await until("a datagram to be refused", async () => {
    await calls.untold.send(fd, "anybody there?");
    await poll(calls.untold, [[fd, "POLLIN"]], MOMENT_MILLIS);
    isRefused = (await calls.untold.recv(fd, 100, "MSG_DONTWAIT")).error === "ECONNREFUSED";
    return isRefused;
  }).catch(() => {});
  calls.note(`nobody is there any more: ${isRefused}`);
}
