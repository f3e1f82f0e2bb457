// Which kernel sockets are still held by a process: for those that no list of the kernel shows. The
// twin of an accepted connection is neither bound nor connected, so its end is told once, when the
// kernel destroys it. Where that was missed, every process's descriptors are looked through.

import { readdirSync, readlinkSync } from "node:fs";
import { native } from "./native.ts";

const SOL_SOCKET = 1;
const SO_COOKIE = 57;
const EPERM = 1;

/** Cookies of one process's sockets, as far as `isNew` lets their inodes through. */
function cookiesOf(pid: number, isNew: (link: string) => boolean): bigint[] | "refused" {
  const process = native().pidfdOpen(pid);
  if (process < 0) return [];
  try {
    const cookies: bigint[] = [];
    for (const name of readdirSync(`/proc/${pid}/fd`)) {
      let link = "";
      try {
        link = readlinkSync(`/proc/${pid}/fd/${name}`);
      } catch {
        continue;
      }
      if (!link.startsWith("socket:") || !isNew(link)) continue;
      const copy = native().pidfdGetfd(process, Number(name));
      if (copy === -EPERM) return "refused";
      if (copy < 0) continue;
      const cookie = Buffer.alloc(8);
      const length = native().getSocketOption(copy, SOL_SOCKET, SO_COOKIE, cookie);
      native().close(copy);
      if (length === cookie.length) cookies.push(cookie.readBigUInt64LE(0));
    }
    return cookies;
  } catch {
    // It has just ended.
    return [];
  } finally {
    native().close(process);
  }
}

/** Cookies of all sockets that a process holds; none if it is out of reach. */
export function socketsOf(pid: number): bigint[] {
  const cookies = cookiesOf(pid, () => true);
  return cookies === "refused" ? [] : cookies;
}

/**
 * Those of the wanted cookies that some process holds; undefined if that can't be told, because a
 * process is out of reach. A socket that is just on its way between two processes is not seen.
 */
export function livingSockets(
  wanted: ReadonlySet<bigint>,
  likelyPids: readonly number[],
): Set<bigint> | undefined {
  const living = new Set<bigint>();
  const seen = new Set<string>();
  const isNew = (link: string) => seen.size !== seen.add(link).size;
  const others = readdirSync("/proc").map(Number).filter(Number.isInteger);
  for (const pid of new Set([...likelyPids, ...others])) {
    if (living.size === wanted.size) break;
    const cookies = cookiesOf(pid, isNew);
    if (cookies === "refused") return undefined;
    for (const cookie of cookies) if (wanted.has(cookie)) living.add(cookie);
  }
  return living;
}
