// A random story of epoll sets: what happens next depends on the seed and on nothing that a call
// returns, so that the kernel and exasock are told the same. Each step leaves one line.

import { numberOf } from "./constants.ts";
import {
  bury,
  drain,
  emit,
  end,
  feed,
  type Ground,
  type Kind,
  makeThing,
  prepareGround,
  type Thing,
} from "./epoll-things.ts";
import * as memory from "./memory.ts";
import { Random } from "./random.ts";
import type { Scene } from "./scenario.ts";

const THINGS_MAX = 22;
const SETS_MAX = 5;
const FIRST: readonly Kind[] = ["set", "set", "udp", "udp", "tcp", "tcp", "listener", "pipe"];
const KINDS: readonly Kind[] = [
  ...["udp", "udp", "tcp", "tcp", "tcp", "listener", "pipe", "eventfd", "timerfd", "set"],
] as Kind[];
const WHAT = ["EPOLLIN", "EPOLLOUT", "EPOLLRDHUP", "EPOLLPRI", "EPOLLRDNORM", "EPOLLWRNORM"];
const EVENTS_ROOM = 64;
/** Bits of epoll_event.events that say how. */
const ONCE = numberOf("EPOLLET") | numberOf("EPOLLONESHOT");

interface Member {
  readonly data: number;
  events: number;
}

class EpollStory {
  readonly #ground: Ground;
  readonly #random: Random;
  readonly #things: Thing[] = [];
  /** By the data that epoll gives back, which no two registrations share. */
  readonly #members = new Map<number, Member>();
  #data = 0;

  constructor(ground: Ground, seed: number) {
    this.#ground = ground;
    this.#random = new Random(seed);
  }

  async tell(steps: number): Promise<void> {
    for (const kind of FIRST) this.#things.push(await makeThing(this.#ground, kind));
    for (let step = 1; step <= steps; step++) {
      const line = await this.#step();
      this.#ground.scene.note("story", `${step}: ${line}`);
    }
  }

  #step(): Promise<string> {
    const chance = this.#random.below(100);
    if (chance < 6) return this.#create();
    if (chance < 11) return this.#close();
    if (chance < 14) return this.#duplicate();
    if (chance < 30) return this.#control("ADD");
    if (chance < 41) return this.#control("MOD");
    if (chance < 47) return this.#control("DEL");
    if (chance < 65) return this.#feed();
    if (chance < 74) return this.#drain();
    if (chance < 78) return this.#emit();
    if (chance < 81) return this.#end();
    return this.#wait();
  }

  #any(isFit: (one: Thing) => boolean = () => true): Thing {
    const one = this.#random.pick(this.#things.filter(isFit));
    if (!one) throw new Error("no such thing: the story keeps some of each");
    return one;
  }

  #anyFd(one: Thing): number {
    return this.#random.pick(one.fds) ?? -1;
  }

  async #create(): Promise<string> {
    const kind = this.#random.pick(KINDS) ?? "pipe";
    const sets = this.#things.filter((one) => one.kind === "set").length;
    const isFull = this.#things.length >= THINGS_MAX || (kind === "set" && sets >= SETS_MAX);
    if (isFull) return await this.#close();
    const one = await makeThing(this.#ground, kind);
    this.#things.push(one);
    return `${kind} is ${one.fds}`;
  }

  async #close(): Promise<string> {
    const at = this.#random.below(this.#things.length);
    const one = this.#things[at];
    const isLastSet = this.#things.filter(({ kind }) => kind === "set").length < 3;
    if (!one || this.#things.length < 5 || (one.kind === "set" && isLastSet)) return "-";
    const fd = this.#anyFd(one);
    one.fds.splice(one.fds.indexOf(fd), 1);
    if (one.fds.length === 0) this.#things.splice(at, 1);
    const { result } = await this.#ground.subject.close(fd);
    if (one.fds.length === 0) await bury(this.#ground, one);
    return `close(${fd}) of ${one.kind} = ${result}, ${one.fds.length} left`;
  }

  async #duplicate(): Promise<string> {
    const one = this.#any();
    const from = this.#anyFd(one);
    const fd = await this.#ground.subject.dup(from);
    one.fds.push(fd);
    return `dup(${from}) of ${one.kind} = ${fd}`;
  }

  #events(target: Thing): number {
    let events = 0;
    for (const name of WHAT) if (this.#random.below(2) === 0) events |= numberOf(name);
    const how = this.#random.below(10);
    // The two halves of an inner set have edges of their own: see docs/decisions/0014.
    if (target.kind === "set") events |= numberOf("EPOLLIN");
    else if (how < 4) events |= numberOf("EPOLLET");
    if (how === 3 || how === 4) events |= numberOf("EPOLLONESHOT");
    if (how === 9) events |= numberOf("EPOLLEXCLUSIVE");
    return events >>> 0;
  }

  async #control(operation: "ADD" | "MOD" | "DEL"): Promise<string> {
    const { subject } = this.#ground;
    const set = this.#anyFd(this.#any((one) => one.kind === "set"));
    const target = this.#any();
    const fd = this.#random.below(20) === 0 ? 90 : this.#anyFd(target);
    const events = this.#events(target);
    this.#data += 1;
    const bytes = Buffer.alloc(memory.EPOLL_EVENT_BYTES);
    bytes.writeUInt32LE(events, 0);
    bytes.writeUInt32LE(this.#data, 4);
    const args = [set, numberOf(`EPOLL_CTL_${operation}`), fd, subject.libc.put(bytes)];
    const { result, error } = await subject.raw("epoll_ctl", args, "");
    if (result === 0) this.#members.set(this.#data, { data: this.#data, events });
    const what = `${fd} (${target.kind}), ${events.toString(16)}`;
    return `epoll_ctl(${set}, ${operation}, ${what}) = ${error || result} #${this.#data}`;
  }

  async #feed(): Promise<string> {
    const one = this.#any();
    const isDone = await feed(this.#ground, one, this.#random);
    return isDone ? `something for ${one.kind} ${one.fds}` : "-";
  }

  async #drain(): Promise<string> {
    const one = this.#any();
    const accepted = await drain(this.#ground, one, this.#random);
    if (accepted) this.#things.push(accepted);
    const more = accepted ? `, accepted ${accepted.fds}` : "";
    return `${one.unread} left for ${one.kind} ${one.fds}${more}`;
  }

  async #emit(): Promise<string> {
    const one = this.#any();
    return (await emit(this.#ground, one)) ? `${one.kind} ${one.fds} sends` : "-";
  }

  async #end(): Promise<string> {
    const one = this.#any(({ kind }) => kind !== "set");
    const what = await end(this.#ground, one, this.#random);
    return what ? `${one.kind} ${one.fds}: ${what}` : "-";
  }

  /** All that there is, by as many calls as it takes with room for so many events each. */
  async #wait(): Promise<string> {
    const set = this.#anyFd(this.#any((one) => one.kind === "set"));
    const isWhole = this.#random.below(3) !== 0;
    const room = isWhole ? EVENTS_ROOM : 1 + this.#random.below(4);
    const seen = new Map<number, number>();
    const twice: number[] = [];
    const calls = isWhole ? 1 : Math.ceil((3 * THINGS_MAX) / room);
    for (let n = 0; n < calls; n++) {
      const got = await this.#waitOnce(set, room);
      if (typeof got === "string") return got;
      if (got.length > room) return `${got.length} events in room for ${room}`;
      for (const [data, events] of got) {
        const isOnce = ((this.#members.get(data)?.events ?? 0) & ONCE) !== 0;
        if (isOnce && seen.has(data)) twice.push(data);
        seen.set(data, (seen.get(data) ?? 0) | events);
      }
      if (got.length === 0) break;
    }
    const all = [...seen].sort(([a], [b]) => a - b);
    const shown = all.map(([data, events]) => `#${data}:${events.toString(16)}`).join(" ");
    return `epoll_wait(${set}, ${room}) = ${shown}${twice.length > 0 ? ` twice ${twice}` : ""}`;
  }

  async #waitOnce(set: number, room: number): Promise<[number, number][] | string> {
    const { subject } = this.#ground;
    const at = subject.libc.reserve(room * memory.EPOLL_EVENT_BYTES);
    const { result, error } = await subject.raw("epoll_wait", [set, at, room, 0], "");
    if (result < 0) return `epoll_wait(${set}) = ${error}`;
    const bytes = await subject.libc.peek(at, result * memory.EPOLL_EVENT_BYTES);
    return Array.from({ length: result }, (_, i) => {
      const from = i * memory.EPOLL_EVENT_BYTES;
      return [bytes.readUInt32LE(from + 4), bytes.readUInt32LE(from)];
    });
  }
}

/** Tells so many steps of the story with this seed. */
export async function tellEpollStory(scene: Scene, seed: number, steps: number): Promise<void> {
  await new EpollStory(await prepareGround(scene), seed).tell(steps);
}
