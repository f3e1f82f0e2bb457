// The echo server of test/shim/echo.c as a service on a host, and questions to it.

import type { Host } from "../../src/lab/network.ts";
import { Program, type ProgramOptions, until } from "../../src/lab/program.ts";
import { compileProgram } from "./compile.ts";
import { accelerated } from "./exasock.ts";

/** Time for one question; a lost one is asked again. */
const ANSWER_SECONDS = "0.3";

export interface EchoServer {
  program: Program;
  host: Host;
  port: number;
}

/** Starts an echo server; `launcher` is null for one that is not accelerated. */
export async function startEcho(
  host: Host,
  launcher: readonly string[] | null = [],
  options: ProgramOptions = {},
): Promise<EchoServer> {
  const file = await compileProgram("test/shim/echo.c", [], { variant: "-service" });
  const command = launcher === null ? [file] : accelerated([file], launcher);
  const program = host.start(command, options);
  await program.waitForOutput(/port \d+\n/);
  return { program, host, port: Number(/port (\d+)/.exec(program.stdout)?.[1]) };
}

/** Asks from another host until the answer is right; throws when none comes. */
export async function assertServes(server: EchoServer, from: Host): Promise<void> {
  const address = `UDP4:${server.host.address}:${server.port}`;
  await until(`an answer from ${server.host.address}:${server.port}`, async () => {
    const client = new Program(from.command(["socat", "-t", ANSWER_SECONDS, "-", address]));
    client.endInput("are you there?");
    const { stdout } = await client.waitForExit();
    return stdout === "ARE YOU THERE?";
  });
}
