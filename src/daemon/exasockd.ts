// Entry point of exasockd: command line, signals, exit status.

import { Command } from "commander";
import { Control } from "./control.ts";
import { Daemon } from "./daemon.ts";
import { createLogger, LOG_LEVELS } from "./log.ts";
import { SystemError } from "./native.ts";
import { checkOptions, commandLineOptions, type DaemonOptions } from "./options.ts";

const STOPPED_STATUS = 0;
const FAILED_STATUS = 1;
/** Another exasockd serves this stack in this network namespace. */
const ALREADY_RUNNING_STATUS = 3;
/** A mistake in our own code (EX_SOFTWARE of sysexits.h). */
const INTERNAL_ERROR_STATUS = 70;

/** Says why in one line and ends. */
function fail(message: string): never {
  process.stderr.write(`exasockd: ${message}\n`);
  process.exit(FAILED_STATUS);
}

function readOptions(): DaemonOptions {
  const command = new Command("exasockd")
    .description("Serves the programs of one network namespace that use exasock.")
    .allowExcessArguments(false);
  for (const option of commandLineOptions()) command.addOption(option);
  try {
    command.parse();
  } catch (error) {
    fail((error as Error).message);
  }
  const options = command.opts<DaemonOptions>();
  const problem = checkOptions(options);
  if (problem !== undefined) fail(problem);
  if (!(LOG_LEVELS as readonly string[]).includes(options.logLevel)) {
    fail(`--log-level must be one of ${LOG_LEVELS.join(", ")}`);
  }
  return options;
}

/** What to tell about an error that ends the daemon. */
function describe(error: unknown): string {
  const { message } = error as Error;
  const denied = error instanceof SystemError && ["EPERM", "EACCES"].includes(error.code);
  return denied ? `${message} (exasockd needs root)` : message;
}

async function main(): Promise<void> {
  const options = readOptions();
  const log = createLogger(options.logLevel);
  const control = Control.listen(options.stack, log);
  if (control === undefined) {
    process.stderr.write(`exasockd: another one serves the stack "${options.stack}" already\n`);
    process.exit(ALREADY_RUNNING_STATUS);
  }
  process.on("uncaughtException", (error) => {
    log.fatal({ err: error }, "internal error");
    process.exit(INTERNAL_ERROR_STATUS);
  });
  let daemon: Daemon | undefined;
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) {
    process.on(signal, () => {
      if (daemon === undefined) process.exit(STOPPED_STATUS);
      void daemon.stop(signal);
    });
  }
  daemon = new Daemon(options, control, log, () => process.exit(STOPPED_STATUS));
  await daemon.start();
}

main().catch((error: unknown) => fail(describe(error)));
