// Programs and daemons that are killed while they are used.

import assert from "node:assert/strict";
import type { Host } from "../../src/lab/network.ts";
import { until } from "../../src/lab/program.ts";
import { Calls } from "./calls.ts";
import { compileCalls, control, startAccelerated, status } from "./exasock.ts";
import { Libc } from "./libc.ts";
import { Transcript } from "./transcript.ts";

/** Of the host's exasockd. */
export async function daemonPid(host: Host): Promise<number> {
  const now = await status(host);
  assert.ok(now, `no exasockd on ${host.name}`);
  return now.pid;
}

/** Resolves when it is gone; the programs go on. */
export async function killDaemon(host: Host): Promise<void> {
  const pid = await daemonPid(host);
  process.kill(pid, "SIGKILL");
  await until("exasockd to be gone", () => !host.pids().includes(pid));
}

/** Ends it on purpose. Resolves when the kernel has the interface back. */
export async function stopDaemon(host: Host): Promise<void> {
  const pid = await daemonPid(host);
  await control(host, "stop");
  await until("exasockd to be gone", () => !host.pids().includes(pid));
  // The kernel takes the XDP program away a moment later; until then packets go to the stack.
  await until("the XDP program to be gone", async () => !(await hasXdp(host)));
}

/** Whether an XDP program is on the host's interface. */
export async function hasXdp(host: Host): Promise<boolean> {
  const { stdout } = await host.run(["ip", "-d", "link", "show", host.interfaceName]);
  return /prog\/xdp|xdp/.test(stdout);
}

/** A program that makes the calls it is told to; on the kernel if there is no launcher. */
export async function callsOn(host: Host, launcher: readonly string[] | null): Promise<Calls> {
  const file = await compileCalls();
  const program =
    launcher === null ? host.start([file]) : startAccelerated(host, [file], { options: launcher });
  const libc = new Libc(program);
  await libc.ready();
  return new Calls({
    libc,
    transcript: new Transcript(),
    actor: host.name,
    caller: (name, args) => libc.call(name, args),
    expected: "",
    told: true,
    surprised: (message) => assert.fail(message),
  });
}
