// exasock as its users meet it: the commands in bin/, run on a host of the laboratory.

import { resolve } from "node:path";
import type { Status } from "../../src/daemon/status.ts";
import type { Host } from "../../src/lab/network.ts";
import { Program, type ProgramOptions, run, until } from "../../src/lab/program.ts";
import { compileProgram, ROOT } from "./compile.ts";
import { Libc } from "./libc.ts";
import { sockaddrBytes } from "./memory.ts";

export const LAUNCHER = resolve(ROOT, "bin/exasock");
export const CONTROL = resolve(ROOT, "bin/exasockctl");

export interface LaunchOptions extends ProgramOptions {
  /** Options of the launcher itself, such as --require. */
  options?: readonly string[];
}

/** The command line that runs a command accelerated. */
export function accelerated(command: readonly string[], options: readonly string[] = []): string[] {
  return [LAUNCHER, ...options, ...command];
}

/** Starts a program under exasock. */
export function startAccelerated(
  host: Host,
  command: readonly string[],
  options: LaunchOptions = {},
): Program {
  return host.start(accelerated(command, options.options), options);
}

/** What `exasockctl status --json` says, or null when no exasockd runs on the host. */
export async function status(host: Host): Promise<Status | null> {
  const program = new Program(host.command([CONTROL, "status", "--json"]));
  program.endInput();
  const { code, stdout, stderr } = await program.waitForExit();
  if (code === 0) return JSON.parse(stdout) as Status;
  if (/does not run/.test(stdout + stderr)) return null;
  throw new Error(`exasockctl status: ${stdout}${stderr}`);
}

export async function control(host: Host, ...args: string[]): Promise<string> {
  return (await run(host.command([CONTROL, ...args]))).stdout;
}

/** The program that makes the calls it is told to; see libc.ts. */
export function compileCalls(): Promise<string> {
  return compileProgram("test/shim/calls.c", ["-rdynamic", "-pthread"]);
}

/**
 * Sends from one host to another until the stack itself sends: the first datagrams to a destination
 * go by the kernel while exasockd looks up the way, once for each source address.
 */
export async function warmUp(from: Host, to: Host, options: readonly string[] = []): Promise<void> {
  const program = startAccelerated(from, [await compileCalls()], { options });
  const libc = new Libc(program);
  await libc.ready();
  const nobody = libc.put(sockaddrBytes({ address: to.address, port: 9 }));
  for (const address of ["0.0.0.0", from.address]) {
    const { result: fd } = await libc.call("socket", [2, 2, 0]);
    const local = libc.put(sockaddrBytes({ address, port: 0 }));
    await libc.call("bind", [fd, local, 16]);
    const before = (await status(from))?.counters.txDatagrams ?? 0;
    await until(`the stack of ${from.name} to send`, async () => {
      await libc.call("sendto", [fd, nobody, 1, 0, nobody, 16]);
      return ((await status(from))?.counters.txDatagrams ?? 0) > before;
    });
  }
  libc.end();
  await program.waitForExit();
}
