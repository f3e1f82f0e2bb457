// exasockd on a host of the laboratory.

import { fileURLToPath } from "node:url";
import { BUILD_HASH_TEXT } from "../../build/gen/build-hash.ts";
import type { Status } from "../../src/daemon/status.ts";
import type { Host } from "../../src/lab/network.ts";
import { type Program, until } from "../../src/lab/program.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const DAEMON = `${ROOT}build/js/src/daemon/exasockd.js`;
const ASK = `${ROOT}test/daemon/ask.ts`;

export const JOIN = JSON.stringify({ type: "join", build: BUILD_HASH_TEXT, pid: 1 });

/** Starts exasockd without waiting for it. */
export function startDaemon(host: Host, ...options: string[]): Program {
  return host.start([process.execPath, DAEMON, "--log-level=debug", ...options]);
}

/** A running exasockd. */
export async function serve(host: Host, ...options: string[]): Promise<Program> {
  const daemon = startDaemon(host, ...options);
  await daemon.waitForOutput("exasockd serves");
  return daemon;
}

/** A process that sends these requests, prints the answers, and ends (unless one is `hold`). */
export function asker(host: Host, ...requests: string[]): Program {
  return host.start([process.execPath, "--import", "tsx", ASK, ...requests], { directory: ROOT });
}

/** The answers to requests of one connection. */
export async function ask(host: Host, ...requests: string[]): Promise<string[]> {
  const { stdout } = await asker(host, ...requests).waitForSuccess();
  return stdout.trimEnd().split("\n");
}

export async function status(host: Host): Promise<Status> {
  const [answer] = await ask(host, JSON.stringify({ type: "status" }));
  return JSON.parse(answer ?? "") as Status;
}

/** True if an XDP program is attached to the host's first interface. */
export async function hasXdp(host: Host): Promise<boolean> {
  const { stdout } = await host.run(["ip", "-d", "link", "show", host.interfaceName]);
  return / xdp|prog\/xdp/.test(stdout);
}

export async function untilClean(host: Host): Promise<void> {
  await until("no XDP program on the interface", async () => !(await hasXdp(host)));
}
