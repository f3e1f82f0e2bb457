// poll, select and epoll of another process; see calls.ts.

import type { Calls, Flags, Reply } from "./calls.ts";
import { namesOf, numberOf } from "./constants.ts";
import * as memory from "./memory.ts";

/** A descriptor and the events that are asked for. */
export type Interest = readonly [descriptor: number, events: string];

/** poll, or ppoll when the name says so. A negative limit waits for ever. */
export async function poll(
  calls: Calls,
  interests: readonly Interest[],
  limitMillis: number,
  name: "poll" | "ppoll" | "__poll_chk" | "__ppoll_chk" = "poll",
): Promise<Reply> {
  const entries = interests.map(([fd, events]) => {
    const bytes = Buffer.alloc(memory.POLLFD_BYTES);
    bytes.writeInt32LE(fd, 0);
    bytes.writeInt16LE(numberOf(events), 4);
    return bytes;
  });
  const bytes = Buffer.concat(entries);
  const at = calls.libc.put(bytes);
  const timed = name.includes("ppoll");
  const limit = timed ? timespecAt(calls, limitMillis) : limitMillis;
  const args = [at, interests.length, limit, ...(timed ? [0] : [])];
  if (name.endsWith("_chk")) args.push(bytes.length);
  const label = `${interests.map(([fd, events]) => `${fd}:${events}`).join(" ")}, ${limitMillis} ms`;
  return await calls.make(name, args, label, async () => {
    const after = await calls.libc.peek(at, bytes.length);
    const shown = interests.map(([fd], i) => {
      return `${fd}:${namesOf(after.readUInt16LE(i * memory.POLLFD_BYTES + 6), "POLL")}`;
    });
    return `[${shown.join(" ")}]`;
  });
}

function timespecAt(calls: Calls, limitMillis: number): number {
  return limitMillis < 0 ? 0 : calls.libc.put(memory.timespec(limitMillis));
}

function setAt(calls: Calls, descriptors: readonly number[] | undefined): number {
  if (!descriptors) return 0;
  const bytes = Buffer.alloc(memory.FD_SET_BYTES);
  for (const fd of descriptors) {
    bytes[fd >> 3] = (bytes[fd >> 3] ?? 0) | (1 << (fd & 7));
  }
  return calls.libc.put(bytes);
}

async function readSet(calls: Calls, at: number): Promise<number[]> {
  const bytes = await calls.libc.peek(at, memory.FD_SET_BYTES);
  const all = Array.from({ length: memory.FD_SET_BYTES * 8 }, (_, fd) => fd);
  return all.filter((fd) => ((bytes[fd >> 3] ?? 0) >> (fd & 7)) & 1);
}

/** select or pselect over the three sets. */
export async function select(
  calls: Calls,
  sets: { read?: readonly number[]; write?: readonly number[]; except?: readonly number[] },
  limitMillis: number,
  name: "select" | "pselect" = "select",
): Promise<Reply> {
  const { read, write, except } = sets;
  const places = [setAt(calls, read), setAt(calls, write), setAt(calls, except)] as const;
  const highest = Math.max(-1, ...(read ?? []), ...(write ?? []), ...(except ?? []));
  const spec = name === "pselect" ? memory.timespec : memory.timeval;
  const limit = limitMillis < 0 ? 0 : calls.libc.put(spec(limitMillis));
  const label = `read [${read ?? ""}], write [${write ?? ""}], except [${except ?? ""}], ${limitMillis} ms`;
  return await calls.make(name, [highest + 1, ...places, limit, 0], label, async () => {
    const names = ["read", "write", "except"];
    const shown: string[] = [];
    for (const [i, at] of places.entries()) {
      if (at !== 0) shown.push(`${names[i]} [${await readSet(calls, at)}]`);
    }
    return shown.join(" ");
  });
}

export async function epollCreate(calls: Calls, flags: Flags = 0): Promise<number> {
  return (await calls.make("epoll_create1", [numberOf(flags)], `${flags}`)).result;
}

export function epollControl(
  calls: Calls,
  epoll: number,
  operation: "ADD" | "MOD" | "DEL",
  [fd, events]: Interest,
): Promise<Reply> {
  const bytes = Buffer.alloc(memory.EPOLL_EVENT_BYTES);
  bytes.writeUInt32LE(numberOf(events), 0);
  bytes.writeUInt32LE(fd, 4);
  const args = [epoll, numberOf(`EPOLL_CTL_${operation}`), fd, calls.libc.put(bytes)];
  return calls.make("epoll_ctl", args, `${epoll}, ${operation}, ${fd}:${events}`);
}

/** epoll_wait, epoll_pwait or epoll_pwait2; the events are shown by descriptor. */
export async function epollWait(
  calls: Calls,
  epoll: number,
  limitMillis: number,
  name: "epoll_wait" | "epoll_pwait" | "epoll_pwait2" = "epoll_wait",
  eventsMax = 8,
): Promise<Reply & { descriptors: number[] }> {
  const at = calls.libc.reserve(eventsMax * memory.EPOLL_EVENT_BYTES);
  const limit = name === "epoll_pwait2" ? timespecAt(calls, limitMillis) : limitMillis;
  const args = [epoll, at, eventsMax, limit, 0];
  const label = `${epoll}, ${eventsMax} events, ${limitMillis} ms`;
  const descriptors: number[] = [];
  const reply = await calls.make(name, args, label, async (count) => {
    const bytes = await calls.libc.peek(at, count * memory.EPOLL_EVENT_BYTES);
    const events = Array.from({ length: count }, (_, i) => {
      const from = i * memory.EPOLL_EVENT_BYTES;
      descriptors.push(bytes.readUInt32LE(from + 4));
      return `${bytes.readUInt32LE(from + 4)}:${namesOf(bytes.readUInt32LE(from), "EPOLL")}`;
    });
    // The kernel promises no order between descriptors.
    return `[${events.sort().join(" ")}]`;
  });
  return { ...reply, descriptors };
}
