// `exasockctl`: what the stack of this network namespace does, and how it is started and stopped.

import { Command, CommanderError, Option } from "commander";
import { packageVersion, usageError } from "./command-line.ts";
import { ask, askStatus, ControlClient, type Reply } from "./control-client.ts";
import { startIfAbsent } from "./daemon-start.ts";
import { examine, type Finding } from "./doctor.ts";
import { readEnvironment } from "./environment.ts";
import { AppError, INTERNAL_ERROR_STATUS } from "./errors.ts";
import { readMachine } from "./machine.ts";
import { paint, type Style } from "./output.ts";
import { applySettings, isStackName, parseInterface, STACK_DEFAULT } from "./settings.ts";
import { writeOutput } from "./standard-output.ts";
import { formatStatus } from "./status-view.ts";

/** As the LSB has it for `status`: the program is not running. */
const NOT_RUNNING_STATUS = 3;
const NOT_RUNNING = "exasockd does not run in this network namespace";
const STOP_TIMEOUT_MILLIS = 5_000;
const STOP_INTERVAL_MILLIS = 10;

/** Of commander: complaints are for main() to print. */
const OUTPUT = { writeOut: writeOutput, outputError: () => {} };

interface CommonOptions {
  json?: boolean;
  stack: string;
}

const HELP = `
Exit status: 0 done, and with doctor nothing fails; 1 failure or mistake; 3 status: exasockd does
not run. The stack and its daemon belong to the network namespace that exasockctl runs in.`;

function style(): Style {
  const wanted = (process.env.NO_COLOR ?? "") === "";
  return { color: wanted && process.stdout.isTTY === true };
}

function print(lines: readonly string[]): void {
  writeOutput(lines.map((line) => `${line}\n`).join(""));
}

function printJson(value: unknown): void {
  print([JSON.stringify(value, null, 2)]);
}

/** A refusal is an error, and so is it if nobody answers. */
function requireReply(reply: Reply | null): Reply {
  if (reply === null) throw new AppError("daemon", NOT_RUNNING);
  if (!reply.ok) throw new AppError("daemon", reply.error ?? "exasockd refused");
  return reply;
}

function checkInterfaceNames(names: readonly string[]): void {
  const bad = names.find((name) => parseInterface(name) === undefined);
  if (bad !== undefined) throw new AppError("usage", `"${bad}" is not an interface name`);
}

function requireRoot(what: string): void {
  if (process.geteuid?.() !== 0) throw new AppError("daemon", `only root can ${what}`);
}

async function up(interfaces: string[], options: CommonOptions): Promise<void> {
  checkInterfaceNames(interfaces);
  requireRoot("start the stack or add interfaces");
  const wasRunning = askStatus(options.stack) !== null;
  await startIfAbsent({ stack: options.stack, interfaces }, readEnvironment());
  const reply = requireReply(ask(options.stack, { type: "up", interfaces }));
  if (options.json) printJson(reply);
  else print([wasRunning ? "done" : "exasockd started"]);
}

function down(interfaces: string[], options: CommonOptions): void {
  checkInterfaceNames(interfaces);
  requireRoot("take interfaces from the stack");
  const reply = requireReply(ask(options.stack, { type: "down", interfaces }));
  if (options.json) printJson(reply);
  else print(["done"]);
}

function status(options: CommonOptions): void {
  const reply = askStatus(options.stack);
  if (reply === null) {
    if (options.json) printJson({ ok: false, error: NOT_RUNNING });
    else print([NOT_RUNNING]);
    process.exitCode = NOT_RUNNING_STATUS;
    return;
  }
  if (options.json) printJson(reply);
  else print(formatStatus(reply, style()));
}

/** Waits until the name is free again: a start right after a stop must not meet the old one. */
async function stop(options: CommonOptions): Promise<void> {
  requireRoot("stop exasockd");
  const reply = ask(options.stack, { type: "stop" });
  const answer = reply === null ? { ok: true } : requireReply(reply);
  const deadline = performance.now() + STOP_TIMEOUT_MILLIS;
  for (;;) {
    const client = ControlClient.connect(options.stack);
    if (client === null) break;
    client.close();
    if (performance.now() > deadline) {
      throw new AppError("daemon", `exasockd did not stop within ${STOP_TIMEOUT_MILLIS / 1000} s`);
    }
    await new Promise((resolve) => setTimeout(resolve, STOP_INTERVAL_MILLIS));
  }
  if (options.json) printJson(answer);
  else print([reply === null ? NOT_RUNNING : "stopped"]);
}

function formatFindings(findings: readonly Finding[]): string[] {
  const width = Math.max(...findings.map(({ subject }) => subject.length));
  return findings.flatMap(({ level, subject, message, advice }) => {
    const mark = paint(style(), level, level.padEnd(4));
    const line = `${mark}  ${subject.padEnd(width)}  ${message}`;
    return advice === "" ? [line] : [line, `${" ".repeat(width + 8)}to do: ${advice}`];
  });
}

function doctor(options: CommonOptions): void {
  const findings = examine(readMachine(options.stack));
  const failed = findings.filter(({ level }) => level === "fail").length;
  if (options.json) {
    printJson({ ok: failed === 0, findings });
  } else {
    const summary = failed === 0 ? "exasock can run here." : `${failed} to mend.`;
    print([...formatFindings(findings), summary]);
  }
  if (failed > 0) process.exitCode = 1;
}

function stackOption(): Option {
  const option = new Option("--stack <name>", "which stack").env("EXASOCK_STACK");
  return option.default(STACK_DEFAULT).argParser((name) => {
    if (isStackName(name)) return name;
    throw new AppError("usage", `"${name}" can't be a stack's name`);
  });
}

function makeCommand(): Command {
  const command = new Command("exasockctl");
  command.description("Looks after the user-space stack of this network namespace.");
  command.helpOption("--help", "show this page").helpCommand(false);
  command.version(`exasockctl ${packageVersion()}`, "--version", "show the version");
  command.exitOverride().configureOutput(OUTPUT).addHelpText("after", HELP);
  const add = (name: string, text: string) =>
    command
      .command(name)
      .description(text)
      .option("--json", "print JSON")
      .addOption(stackOption())
      .helpOption("--help", "show this page")
      .exitOverride()
      .configureOutput(OUTPUT);
  const interfaces = "names; all that suit if none is given";
  add("up", "start the stack, or have it use more interfaces")
    .argument("[interface...]", interfaces)
    .action(up);
  add("down", "give interfaces back to the kernel; the stack goes on")
    .argument("[interface...]", "names; all if none is given")
    .action(down);
  add("status", "show interfaces, programs, sockets and drops").action(status);
  add("doctor", "check this machine and say what to do").action(doctor);
  add("stop", "stop the stack: its programs go on through the kernel").action(stop);
  return command;
}

async function main(args: readonly string[]): Promise<void> {
  if (args.length === 0) throw new AppError("usage", "COMMAND is missing");
  applySettings(readEnvironment(), new Map());
  try {
    await makeCommand().parseAsync(args, { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return;
    throw usageError(error);
  }
}

const USAGE =
  "usage: exasockctl up|down|status|doctor|stop [OPTION...]   (exasockctl --help explains)";

main(process.argv.slice(2)).catch((error: unknown) => {
  if (error instanceof AppError) {
    process.stderr.write(`exasockctl: ${error.message}\n`);
    if (error.code === "usage") process.stderr.write(`${USAGE}\n`);
    process.exitCode = error.exitStatus;
  } else {
    const text = error instanceof Error ? error.stack : String(error);
    process.stderr.write(`exasockctl: ${text}\n`);
    process.exitCode = INTERNAL_ERROR_STATUS;
  }
});
