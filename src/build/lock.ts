import { closeSync, mkdirSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { BuildError } from "./errors.ts";

const WAIT_MILLIS = 100;
const WAIT_LIMIT_MILLIS = 300_000;

/** Runs `work` while no other process does the same with this lock file. */
export async function withLock<T>(path: string, work: () => Promise<T>): Promise<T> {
  mkdirSync(dirname(path), { recursive: true });
  for (let waited = 0; !tryLock(path); waited += WAIT_MILLIS) {
    if (waited >= WAIT_LIMIT_MILLIS) throw new BuildError(`another build holds ${path}`);
    await delay(WAIT_MILLIS);
  }
  try {
    return await work();
  } finally {
    rmSync(path, { force: true });
  }
}

function tryLock(path: string): boolean {
  try {
    const file = openSync(path, "wx");
    writeSync(file, `${process.pid}`);
    closeSync(file);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    if (!isHolderAlive(path)) rmSync(path, { force: true });
    return false;
  }
}

function isHolderAlive(path: string): boolean {
  try {
    const holder = Number(readFileSync(path, "utf8"));
    if (!holder) return true; // it is being written right now
    process.kill(holder, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
