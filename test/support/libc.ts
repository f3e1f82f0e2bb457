// The TypeScript end of test/shim/calls.c: makes libc calls in another process and reads what they
// wrote. Nothing here knows what the calls mean; calls.ts does.

import type { Program } from "../../src/lab/program.ts";

/** The first page holds the signal counter; see calls.c. */
const ARENA_ADDRESS = 0x200000000000;
const ARENA_FIRST_FREE = 4096;
const ALIGNMENT = 16;
/** A call that has not answered by then is stuck; real blocking calls in scenarios end in time. */
const ANSWER_LIMIT_MILLIS = 4000;

/** The ways to make a child that calls.c knows. */
export type ForkWay = "fork" | "vfork" | (typeof RARE_FORKS)[number];
/** Those that run no handlers of pthread_atfork(3). */
export const RARE_FORKS = [
  "_Fork",
  "clone",
  "syscall-fork",
  "syscall-clone",
  "syscall-clone3",
] as const;

export interface CallResult {
  result: bigint;
  errno: number;
}

/** A call did not return: the transcript ends here. */
export class CallTimeout extends Error {}

/** A word of a command: a number, a symbol's address (`@environ`), or an earlier result (`$1`). */
export type Argument = number | bigint | string;

interface Waiting {
  resolve: (answer: string[]) => void;
  reject: (error: Error) => void;
  timer: NodeJS.Timeout;
}

/** One process that makes the calls it is told to. */
export class Libc {
  readonly program: Program;
  readonly #waiting = new Map<string, Waiting>();
  #parsedLength = 0;
  #tagCount = 0;
  #free = ARENA_ADDRESS + ARENA_FIRST_FREE;

  constructor(program: Program) {
    this.program = program;
    program.onChange(() => this.#parse());
  }

  /** Resolves when the process takes commands: after its start and after an exec. */
  async ready(): Promise<void> {
    await this.#expect("ready");
  }

  /** Reserves memory in the process and fills it. The memory is never reused. */
  put(bytes: Uint8Array): number {
    const address = this.reserve(bytes.length);
    if (bytes.some((byte) => byte !== 0)) {
      this.#command("poke", `${address} ${Buffer.from(bytes).toString("hex")}`).catch(() => {});
    }
    return address;
  }

  /** Reserves zeroed memory in the process. */
  reserve(lengthBytes: number): number {
    const address = this.#free;
    this.#free += Math.ceil(Math.max(lengthBytes, 1) / ALIGNMENT) * ALIGNMENT;
    return address;
  }

  async peek(address: number, lengthBytes: number): Promise<Buffer> {
    if (lengthBytes === 0) return Buffer.alloc(0);
    const [hex] = await this.#command("peek", `${address} ${lengthBytes}`);
    return Buffer.from(hex ?? "", "hex");
  }

  /** How many signals the process's handler @on_signal has seen. */
  async signalCount(): Promise<number> {
    return Number((await this.peek(ARENA_ADDRESS, 8)).readBigInt64LE(0));
  }

  async call(name: string, args: readonly Argument[]): Promise<CallResult> {
    return toResult(await this.#command("call", `${name} ${args.join(" ")}`));
  }

  /** Makes the call in a new thread; resolves when the call returns. */
  async threadCall(name: string, args: readonly Argument[]): Promise<CallResult> {
    return toResult(await this.#command("thread", `${name} ${args.join(" ")}`));
  }

  /** Prepares a batch of calls for a child process. */
  batch(): Batch {
    return new Batch(this, () => `c${this.#tagCount++}`);
  }

  /** Sends a batch to a child; resolves with the child's pid. */
  async startChild(verb: ForkWay, commands: readonly string[]): Promise<CallResult> {
    return toResult(await this.#command(verb, commands.join(";")));
  }

  /** The answer with this tag, which someone else has asked for or will ask for. */
  async answerTo(tag: string): Promise<CallResult> {
    return toResult(await this.#expect(tag));
  }

  /** Becomes another program, or the same one again when no path is given. */
  async exec(path = "/proc/self/exe"): Promise<void> {
    const ready = this.ready();
    this.program.write(`none call execve ${execArguments(this, path, [])}\n`);
    await ready;
  }

  end(): void {
    this.program.endInput();
  }

  #command(verb: string, rest: string): Promise<string[]> {
    const tag = `t${this.#tagCount++}`;
    const answer = this.#expect(tag);
    this.program.write(`${tag} ${verb} ${rest}\n`);
    return answer;
  }

  #expect(tag: string): Promise<string[]> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(tag);
        reject(new CallTimeout("no answer"));
      }, ANSWER_LIMIT_MILLIS);
      this.#waiting.set(tag, { resolve, reject, timer });
      this.#parse();
    });
  }

  #parse(): void {
    for (;;) {
      const end = this.program.stdout.indexOf("\n", this.#parsedLength);
      if (end < 0) break;
      const [tag, ...words] = this.program.stdout.slice(this.#parsedLength, end).split(" ");
      const waiting = this.#waiting.get(tag ?? "");
      this.#parsedLength = end + 1;
      if (!waiting) continue;
      this.#waiting.delete(tag ?? "");
      clearTimeout(waiting.timer);
      waiting.resolve(words);
    }
    if (!this.program.exit) return;
    for (const [tag, waiting] of this.#waiting) {
      this.#waiting.delete(tag);
      clearTimeout(waiting.timer);
      const how = this.program.exit.signal ?? `status ${this.program.exit.code}`;
      waiting.reject(new CallTimeout(`the program ended by ${how}: ${this.program.stderr}`));
    }
  }
}

/** Calls that a child process will make, in order; their answers arrive while it runs. */
export class Batch {
  readonly commands: string[] = [];
  readonly #libc: Libc;
  readonly #nextTag: () => string;

  constructor(libc: Libc, nextTag: () => string) {
    this.#libc = libc;
    this.#nextTag = nextTag;
  }

  /** Adds an exec, which gives no answer unless it fails. */
  exec(path: string, args: readonly string[]): void {
    this.commands.push(`none call execve ${execArguments(this.#libc, path, args)}`);
  }

  async call(name: string, args: readonly Argument[]): Promise<CallResult> {
    const tag = this.#nextTag();
    this.commands.push(`${tag} call ${name} ${args.join(" ")}`);
    return await this.#libc.answerTo(tag);
  }
}

function execArguments(libc: Libc, path: string, args: readonly string[]): string {
  const strings = [path, ...args].map((text) => libc.put(Buffer.from(`${text}\0`)));
  const vector = Buffer.alloc((strings.length + 1) * 8);
  strings.forEach((at, index) => {
    vector.writeBigUInt64LE(BigInt(at), index * 8);
  });
  return `${strings[0]} ${libc.put(vector)} *environ`;
}

function toResult(words: readonly string[]): CallResult {
  return { result: BigInt(words[0] ?? 0), errno: Number(words[1] ?? 0) };
}
