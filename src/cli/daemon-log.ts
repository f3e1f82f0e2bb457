// The log of an exasockd that no person started: where it lies, how it is kept small.

import * as fs from "node:fs";
import { join } from "node:path";
import { AppError } from "./errors.ts";

const FOLDERS = ["/run/exasock", "/tmp/exasock"] as const;
/** A log that has grown beyond this starts anew. */
const BYTES_MAX = 1 << 20;
/** The log of a network namespace that is gone is kept this long. */
const KEPT_MILLIS = 3_600_000;

/** Identifies this network namespace among all that are alive. */
function namespaceNumber(): number {
  return fs.statSync("/proc/self/ns/net").ino;
}

/** Where the log of this namespace's exasockd lies. */
export function logPath(stack: string, folder: string = FOLDERS[0]): string {
  return join(folder, `${stack}-${namespaceNumber()}.log`);
}

/** The numbers of all network namespaces in which a process lives. */
function liveNamespaces(): Set<string> {
  const pids = fs.readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  return new Set(
    pids.flatMap((pid) => {
      try {
        return fs.readlinkSync(`/proc/${pid}/ns/net`).match(/\d+/) ?? [];
      } catch {
        return [];
      }
    }),
  );
}

/** Removes the logs of namespaces that are gone, after a while. Best effort. */
export function pruneLogs(folder: string, nowMillis: number, live: () => Set<string>): void {
  const old = fs.readdirSync(folder).filter((name) => {
    if (!/-\d+\.log$/.test(name)) return false;
    return nowMillis - fs.statSync(join(folder, name)).mtimeMs > KEPT_MILLIS;
  });
  if (old.length === 0) return;
  const alive = live();
  for (const name of old) {
    const number = /-(\d+)\.log$/.exec(name)?.[1] ?? "";
    if (!alive.has(number)) fs.rmSync(join(folder, name), { force: true });
  }
}

/**
 * Opens the log for appending. Its folder belongs to us alone: another user could have laid a link
 * where the log goes. Throws "daemon".
 */
export function openLog(stack: string): { fd: number; path: string } {
  let failure: unknown;
  for (const folder of FOLDERS) {
    try {
      fs.mkdirSync(folder, { recursive: true, mode: 0o755 });
      const status = fs.lstatSync(folder);
      if (!status.isDirectory() || status.uid !== process.geteuid?.()) continue;
      pruneLogs(folder, Date.now(), liveNamespaces);
      const path = logPath(stack, folder);
      const flags = fs.constants.O_APPEND | fs.constants.O_CREAT | fs.constants.O_WRONLY;
      const fd = fs.openSync(path, flags | fs.constants.O_NOFOLLOW, 0o644);
      if (fs.fstatSync(fd).size > BYTES_MAX) fs.ftruncateSync(fd);
      return { fd, path };
    } catch (error) {
      failure = error;
    }
  }
  const message = `could not open a log for exasockd in ${FOLDERS.join(" or ")}`;
  throw new AppError("daemon", message, { cause: failure });
}

/** The last line of a log from a position on, as the reason why exasockd ended. */
export function lastLine(path: string, from: number): string {
  const lines = fs.readFileSync(path).subarray(from).toString().trimEnd().split("\n");
  return lines.at(-1)?.replace(/^exasockd: /, "") || "it said nothing";
}
