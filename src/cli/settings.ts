// The options of `exasock` and the environment variables that carry them to the program. One table:
// the command line, its help, the check of the environment and docs/environment.md follow it.

import { AppError } from "./errors.ts";

/** Variables of a program's environment, name to value, as bytes (see environment.ts). */
export type Environment = Map<string, string>;

export interface Setting {
  /** As in `--help`; what follows `=` names the value. */
  option: string;
  variable: string;
  help: string;
  /** Of a setting with a value: whether this one will do. Without it the setting is on or off. */
  accepts?: (value: string) => boolean;
  /** What `accepts` accepts, to follow "must be". */
  expected?: string;
}

export const STACK_DEFAULT = "default";
export const WAITS = ["spin", "adaptive", "sleep"] as const;
/** A stack's name becomes part of socket addresses (108 bytes in all) and of file names. */
const STACK_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$/;
/** IFNAMSIZ is 16 with the final NUL; the kernel forbids '/', ':' and white space in names. */
const INTERFACE_NAME = /^(?!\.{1,2}$)[^\s/:,]{1,15}$/;

/** Queues FIRST to LAST, and an interface with them; all of its queues if none are named. */
const INTERFACE_REQUEST = /^([^:]*)(?::([0-9]{1,2})(?:-([0-9]{1,2}))?)?$/;
/** Entries of the XDP programs' maps: see native/bpf. */
const QUEUE_ID_MAX = 63;

export interface QueueRange {
  readonly first: number;
  readonly last: number;
}

/** An interface that a stack is to use, and which of its receive queues. */
export interface InterfaceRequest {
  readonly name: string;
  readonly queues: QueueRange | undefined;
}

export const SETTINGS = [
  {
    option: "--debug",
    variable: "EXASOCK_DEBUG",
    help: "say for each socket whether it is accelerated, and why not",
  },
  {
    option: "--trace",
    variable: "EXASOCK_TRACE",
    help: "print the socket calls as they are made",
  },
  {
    option: "--no-warn",
    variable: "EXASOCK_NOWARN",
    help: "print no warnings",
  },
  {
    option: "--no-auto",
    variable: "EXASOCK_DEFAULT_DISABLE",
    help: "accelerate only sockets that ask for it (SO_EXA_NO_ACCEL set to 0)",
  },
  {
    option: "--require",
    variable: "EXASOCK_REQUIRE",
    help: "fail rather than run on the kernel's stack",
  },
  {
    option: `--wait=${WAITS.join("|")}`,
    variable: "EXASOCK_WAIT",
    help: "how a blocked call waits",
    accepts: (value) => (WAITS as readonly string[]).includes(value),
    expected: "spin, adaptive or sleep",
  },
  {
    option: "--stack=NAME",
    variable: "EXASOCK_STACK",
    help: `which stack to use (default "${STACK_DEFAULT}")`,
    accepts: isStackName,
    expected: "at most 32 letters, digits, '.', '_' or '-'",
  },
  {
    option: "--interfaces=NAME[:FIRST-LAST][,...]",
    variable: "EXASOCK_INTERFACES",
    help: "which interfaces (or queues of them) the stack uses, should this start it",
    accepts: (value) => value.split(",").every((one) => parseInterface(one) !== undefined),
    expected: "interfaces (eth0, eth0:2-3) with ','",
  },
] as const satisfies readonly Setting[];

export type Variable = (typeof SETTINGS)[number]["variable"];

/** Read by the launcher alone. */
export const LIBRARY_FOLDER_VARIABLE = "EXASOCK_PATH";

export function isStackName(name: string): boolean {
  return STACK_NAME.test(name);
}

export function isInterfaceName(name: string): boolean {
  return INTERFACE_NAME.test(name);
}

/** `eth0`, `eth0:3` or `eth0:2-3`; undefined if it is none of these. */
export function parseInterface(text: string): InterfaceRequest | undefined {
  const [, name = "", first, last = first] = INTERFACE_REQUEST.exec(text) ?? [];
  if (!isInterfaceName(name)) return undefined;
  if (first === undefined) return { name, queues: undefined };
  const queues = { first: Number(first), last: Number(last) };
  if (queues.last < queues.first || queues.last > QUEUE_ID_MAX) return undefined;
  return { name, queues };
}

/** `--wait=spin|sleep` is given as `--wait`. */
export function optionName(setting: Setting): string {
  return setting.option.replace(/=.*/, "");
}

/** Throws "setting" unless the value will do; `given` names where the user gave it. */
export function checkSetting(setting: Setting, given: string, value: string): void {
  if (!setting.accepts || setting.accepts(value)) return;
  throw new AppError("setting", `${given} must be ${setting.expected}, not "${value}"`);
}

/**
 * Checks the settings in an environment and lays those of the command line over them.
 *
 * The on/off variables count as on whatever their value, as in ExaNIC Sockets; only
 * EXASOCK_REQUIRE, which that doesn't have, can be set to 0.
 */
export function applySettings(environment: Environment, given: ReadonlyMap<string, string>): void {
  for (const setting of SETTINGS as readonly Setting[]) {
    const option = optionName(setting);
    const value = given.get(option);
    if (value !== undefined) {
      checkSetting(setting, `option ${option}`, value);
      environment.set(setting.variable, value);
      continue;
    }
    const inherited = environment.get(setting.variable);
    if (inherited !== undefined) checkSetting(setting, setting.variable, inherited);
  }
  if (environment.get("EXASOCK_REQUIRE") === "0") environment.delete("EXASOCK_REQUIRE");
}
