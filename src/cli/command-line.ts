// The command line of `exasock`, by commander, from the table of settings.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Command, CommanderError, Option } from "commander";
import { AppError } from "./errors.ts";
import { ROOT } from "./native.ts";
import { LIBRARY_FOLDER_VARIABLE, optionName, SETTINGS, type Setting } from "./settings.ts";
import { writeOutput } from "./standard-output.ts";

export interface CommandLine {
  /** Option to value, "1" for those that are just on. */
  given: Map<string, string>;
  /** How many of the last arguments are the program's, its name included. */
  commandCount: number;
}

const HELP = `
Runs COMMAND with its network sockets on the user-space stack. exasock becomes COMMAND: same
process, terminal, signals and exit status. The stack's daemon, exasockd, is started if this
network namespace has none; that takes root. Whoever may not use the stack is told so, and COMMAND
runs on the kernel's stack (with --require: exit status 1, and COMMAND does not run).

Options can be set by environment variables as well; an option wins over its variable:
VARIABLES
  ${LIBRARY_FOLDER_VARIABLE.padEnd(25)} folder of libexasock.so, if not the build's own

Exit status: COMMAND's; 1 for a mistake in options, 126 if COMMAND can't be executed, 127 if it
is not found.

Examples:
  exasock nc -u -l 1234                 receive datagrams on port 1234
  exasock --debug python3 server.py     say which sockets are accelerated
  exasock --require --wait=spin ./feed  lowest latency, or not at all
  exasockctl status                     what is accelerated now
  exasockctl doctor                     what this machine lacks, if anything`;

export function packageVersion(): string {
  const text = readFileSync(join(ROOT, "package.json"), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}

function makeOption(setting: Setting): Option {
  const flags = setting.accepts ? `${optionName(setting)} <value>` : setting.option;
  return new Option(flags, setting.help);
}

function helpText(): string {
  const lines = (SETTINGS as readonly Setting[]).map(
    (setting) => `  ${setting.variable.padEnd(25)} ${setting.option}`,
  );
  return HELP.replace("VARIABLES", lines.join("\n"));
}

function makeCommand(options: ReadonlyMap<Option, Setting>): Command {
  const command = new Command("exasock");
  command.usage("[OPTION...] COMMAND [ARG...]").argument("[command...]").passThroughOptions();
  for (const option of options.keys()) command.addOption(option);
  command.helpOption("--help", "show this page");
  command.version(`exasock ${packageVersion()}`, "--version", "show the version");
  command.configureHelp({
    optionTerm: (option) => options.get(option)?.option ?? option.flags,
    visibleArguments: () => [],
  });
  command.addHelpText("after", helpText());
  return command.exitOverride().configureOutput({
    writeOut: writeOutput,
    outputError: () => {},
  });
}

/** Commander's complaint on one line, in the words of the others. */
export function usageError(error: CommanderError): AppError {
  const message = error.message.replace(/^error: /, "").replaceAll("\n", " ");
  const missing = /^option '(--[\w-]+) .*' argument missing$/.exec(message);
  const text = missing ? `option ${missing[1]} needs a value` : message;
  return new AppError("usage", text, { cause: error });
}

/**
 * Parses the launcher's arguments; null when it was asked for help or its version, which have been
 * printed. Throws "usage".
 */
export function parseCommandLine(args: readonly string[]): CommandLine | null {
  const options = new Map(
    (SETTINGS as readonly Setting[]).map((setting) => [makeOption(setting), setting] as const),
  );
  const command = makeCommand(options);
  try {
    command.parse(args, { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return null;
    throw usageError(error);
  }
  const given = new Map<string, string>();
  for (const [option, setting] of options) {
    const key = option.attributeName();
    if (command.getOptionValueSource(key) !== "cli") continue;
    const value: unknown = command.getOptionValue(key);
    given.set(optionName(setting), typeof value === "string" ? value : "1");
  }
  return { given, commandCount: command.args.length };
}
