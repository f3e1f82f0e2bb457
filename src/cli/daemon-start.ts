// Starting exasockd when the network namespace has none. Ten launchers may try at once: whoever
// binds the abstract address below starts it, the others wait for it to answer. The kernel frees
// the address when its holder ends, so that nobody waits for a launcher that was killed.

import { spawn } from "node:child_process";
import { once } from "node:events";
import * as fs from "node:fs";
import { join } from "node:path";
import type { Status } from "../daemon/status.ts";
import { askStatus, controlAddress } from "./control-client.ts";
import { lastLine, logPath, openLog } from "./daemon-log.ts";
import { errno } from "./errno.ts";
import { AppError } from "./errors.ts";
import { BUILD_FOLDER, native } from "./native.ts";
import type { Environment } from "./settings.ts";

/** How long exasockd may take until it answers, the wait for another launcher's included. */
export const START_TIMEOUT_MILLIS = 5_000;
const POLL_INTERVAL_MILLIS = 5;
/** An exasockd that was just stopping may have kept the first from starting. */
const START_TRIES = 2;
const SOCK_SEQPACKET = 5;
const AF_UNIX = 1;

/**
 * Becomes a session of its own without a terminal, and leaves exasockd to init: the program that
 * the launcher becomes must not find a child that it did not start. Prints exasockd's pid.
 */
const DETACH_SCRIPT = '"$0" "$@" </dev/null >&2 & echo $!';

export interface DaemonOptions {
  stack: string;
  /** Empty: exasockd's own choice. */
  interfaces: string[];
}

/**
 * Keeps all descriptors but the standard ones from exasockd, which would hold them for long: the
 * user's pipes and locks. (Node does so for low numbers only.)
 */
function hideDescriptors(): void {
  for (const name of fs.readdirSync("/proc/self/fd")) {
    // One of them was the folder's own, and is closed again.
    if (Number(name) > 2) native().setCloseOnExec(Number(name), 1);
  }
}

/** The pid of a fresh exasockd. */
async function startDaemon(options: DaemonOptions, env: Environment, log: number): Promise<number> {
  const entry = join(BUILD_FOLDER, "js/src/daemon/exasockd.js");
  const args = [entry, `--stack=${options.stack}`];
  if (options.interfaces.length > 0) args.push(`--interfaces=${options.interfaces.join(",")}`);
  const kept = ["PATH", "LANG", "LC_ALL", "TZ"].filter((name) => env.has(name));
  hideDescriptors();
  const shell = spawn("/bin/sh", ["-c", DETACH_SCRIPT, process.execPath, ...args], {
    cwd: "/",
    detached: true,
    env: Object.fromEntries(kept.map((name) => [name, env.get(name)])),
    stdio: ["ignore", "pipe", log],
  });
  let output = "";
  shell.stdout?.setEncoding("utf8").on("data", (text) => {
    output += text;
  });
  await once(shell, "close");
  return Number(output);
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

function delay(millis: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, millis));
}

/** A descriptor that stands for the right to start exasockd; null while another process has it. */
function claimStart(stack: string): number | null {
  const { socket, bind, close } = native();
  const fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
  if (fd < 0) throw new AppError("daemon", `could not make a socket (${errno.name(-fd)})`);
  const result = bind(fd, controlAddress(stack, "/start"));
  if (result >= 0) return fd;
  close(fd);
  if (result === -errno.EADDRINUSE) return null;
  throw new AppError("daemon", `could not bind a Unix address (${errno.name(-result)})`);
}

/** Starts exasockd and waits until it answers; a string says why it ended. Needs the claim. */
async function tryStart(
  options: DaemonOptions,
  env: Environment,
  deadline: number,
): Promise<Status | string> {
  const log = openLog(options.stack);
  const logStart = fs.fstatSync(log.fd).size;
  try {
    const pid = await startDaemon(options, env, log.fd);
    for (;;) {
      const alive = isAlive(pid);
      const status = askStatus(options.stack, Math.max(deadline - performance.now(), 0));
      if (status) return status;
      if (!alive) {
        return `exasockd could not start: ${lastLine(log.path, logStart)} (log: ${log.path})`;
      }
      if (performance.now() > deadline) throw tooSlow(log.path);
      await delay(POLL_INTERVAL_MILLIS);
    }
  } finally {
    fs.closeSync(log.fd);
  }
}

function tooSlow(log: string): AppError {
  const seconds = START_TIMEOUT_MILLIS / 1000;
  return new AppError("daemon", `exasockd did not start within ${seconds} s (log: ${log})`);
}

/**
 * The status of this namespace's exasockd, which is started if it does not run.
 *
 * Throws "daemon" when it can't be started or does not answer in time.
 */
export async function startIfAbsent(options: DaemonOptions, env: Environment): Promise<Status> {
  const deadline = performance.now() + START_TIMEOUT_MILLIS;
  let failures = 0;
  for (;;) {
    const running = askStatus(options.stack);
    if (running) return running;
    const claim = claimStart(options.stack);
    if (claim !== null) {
      try {
        // It may have come up between the two looks.
        const up = askStatus(options.stack);
        const result = up ?? (await tryStart(options, env, deadline));
        if (typeof result !== "string") return result;
        if (++failures >= START_TRIES) throw new AppError("daemon", result);
      } finally {
        native().close(claim);
      }
    }
    if (performance.now() > deadline) throw tooSlow(logPath(options.stack));
    await delay(POLL_INTERVAL_MILLIS);
  }
}
