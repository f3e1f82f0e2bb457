// exasock as its users meet it: the commands in bin/, run on a host of the laboratory.

import { resolve } from "node:path";
import type { Host } from "../../src/lab/network.ts";
import type { Program, ProgramOptions } from "../../src/lab/program.ts";
import { ROOT } from "./compile.ts";

export const LAUNCHER = resolve(ROOT, "bin/exasock");
export const CONTROL = resolve(ROOT, "bin/exasockctl");

export interface LaunchOptions extends ProgramOptions {
  /** Options of the launcher itself, such as --require. */
  options?: readonly string[];
}

/** What `exasockctl status --json` prints, as far as tests look at it. */
export interface Status {
  pid: number;
  [key: string]: unknown;
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

export async function status(host: Host): Promise<Status> {
  const { stdout } = await host.run([CONTROL, "status", "--json"]);
  return JSON.parse(stdout) as Status;
}
