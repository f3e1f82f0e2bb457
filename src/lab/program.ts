// One child process with a bounded life: its output is kept, its end is awaited, and it never
// outlives whoever started it.

import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { setTimeout as delay } from "node:timers/promises";

/** No child process may run longer than this unless its starter says otherwise. */
export const PROGRAM_LIMIT_MILLIS = 60_000;
/** How long a condition may take to become true. */
export const CONDITION_LIMIT_MILLIS = 10_000;
const CONDITION_INTERVAL_MILLIS = 5;

/** How a process ended: exactly one of the two is not null. */
export interface Exit {
  code: number | null;
  signal: NodeJS.Signals | null;
}

/** What a finished process left behind. */
export interface Outcome extends Exit {
  stdout: string;
  stderr: string;
}

export interface ProgramOptions {
  /** Added to (and replacing in) this process's environment; undefined removes a variable. */
  environment?: Record<string, string | undefined>;
  /** Killed with SIGKILL when it runs longer than this. */
  limitMillis?: number;
  directory?: string;
}

/** Waits until the condition holds, asking every few milliseconds, and throws at the deadline. */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  limitMillis: number = CONDITION_LIMIT_MILLIS,
): Promise<void> {
  const deadline = performance.now() + limitMillis;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`waited ${limitMillis} ms for ${what}`);
    await delay(CONDITION_INTERVAL_MILLIS);
  }
}

const running = new Set<Program>();

/** Kills every process that is still running: for exit hooks, therefore synchronous. */
export function killRunningPrograms(): void {
  for (const program of running) program.killGroup();
}

/** A running (or ended) child process. */
export class Program implements AsyncDisposable {
  readonly command: readonly string[];
  readonly pid: number;
  stdout = "";
  stderr = "";
  exit: Exit | null = null;
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #ended: Promise<Exit>;
  readonly #watchers = new Set<() => void>();

  constructor(command: readonly string[], options: ProgramOptions = {}) {
    const [file, ...parameters] = command;
    if (file === undefined) throw new Error("a program needs a command");
    const environment = { ...process.env, ...options.environment };
    this.command = command;
    // A process group of its own, so that what it forks can be ended with it.
    const where = { env: environment, cwd: options.directory, detached: true };
    this.#child = spawn(file, parameters, where);
    this.pid = this.#child.pid ?? 0;
    running.add(this);
    const limitMillis = options.limitMillis ?? PROGRAM_LIMIT_MILLIS;
    const limit = setTimeout(() => {
      this.stderr += `\n[killed: still running after ${limitMillis} ms]\n`;
      this.killGroup();
    }, limitMillis);
    this.#child.stdout.setEncoding("utf8").on("data", (text: string) => {
      this.stdout += text;
      this.#changed();
    });
    this.#child.stderr.setEncoding("utf8").on("data", (text: string) => {
      this.stderr += text;
      this.#changed();
    });
    // A program that ends without reading its input is no error of ours.
    this.#child.stdin.on("error", () => {});
    this.#ended = new Promise((resolve) => {
      const finish = (code: number | null, signal: NodeJS.Signals | null) => {
        clearTimeout(limit);
        running.delete(this);
        this.exit ??= { code, signal };
        this.#changed();
        resolve(this.exit);
      };
      this.#child.on("error", (error) => {
        this.stderr += `${error.message}\n`;
        finish(127, null);
      });
      this.#child.on("close", finish);
    });
  }

  /** Writes to the program's standard input. */
  write(text: string | Uint8Array): void {
    this.#child.stdin.write(text);
  }

  /** Closes the program's standard input, after an optional last text. */
  endInput(text?: string): void {
    if (text === undefined) this.#child.stdin.end();
    else this.#child.stdin.end(text);
  }

  kill(signal: NodeJS.Signals = "SIGTERM"): void {
    if (this.exit === null && this.pid > 0) this.#child.kill(signal);
  }

  /** Ends the program and whatever it forked, even when the program itself has ended. */
  killGroup(): void {
    if (this.pid === 0) return;
    try {
      process.kill(-this.pid, "SIGKILL");
    } catch {
      // The group is empty.
    }
  }

  /** Calls back whenever output arrives or the program ends; returns the function that stops it. */
  onChange(callback: () => void): () => void {
    this.#watchers.add(callback);
    return () => this.#watchers.delete(callback);
  }

  /** Waits until both outputs together match; fails at the deadline or when it ends first. */
  waitForOutput(pattern: RegExp | string, limitMillis?: number): Promise<void> {
    const matches = () => {
      const text = this.stdout + this.stderr;
      return typeof pattern === "string" ? text.includes(pattern) : pattern.test(text);
    };
    return this.waitFor(`the output ${pattern}`, matches, limitMillis);
  }

  /** Waits until the condition holds, which is asked again whenever output arrives. */
  async waitFor(what: string, condition: () => boolean, limitMillis?: number): Promise<void> {
    const limit = limitMillis ?? CONDITION_LIMIT_MILLIS;
    await new Promise<void>((resolve, reject) => {
      const settle = (error?: Error) => {
        clearTimeout(timer);
        stop();
        if (error) reject(error);
        else resolve();
      };
      const check = () => {
        if (condition()) settle();
        else if (this.exit) settle(this.#failure(`ended before ${what}`));
      };
      const timer = setTimeout(
        () => settle(this.#failure(`waited ${limit} ms for ${what}`)),
        limit,
      );
      const stop = this.onChange(check);
      check();
    });
  }

  /** Waits for the end of the program, which its time limit guarantees. */
  async waitForExit(): Promise<Outcome> {
    const exit = await this.#ended;
    return { ...exit, stdout: this.stdout, stderr: this.stderr };
  }

  /** Waits for the end and throws unless the exit status is 0. */
  async waitForSuccess(): Promise<Outcome> {
    const outcome = await this.waitForExit();
    if (outcome.code !== 0) throw this.#failure("did not succeed");
    return outcome;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.killGroup();
    await this.#ended;
  }

  #changed(): void {
    for (const watcher of [...this.#watchers]) watcher();
  }

  #failure(what: string): Error {
    const state = this.exit ? `exit ${this.exit.code ?? this.exit.signal}` : "running";
    const output = `stdout: ${this.stdout}\nstderr: ${this.stderr}`;
    return new Error(`${this.command.join(" ")} (${state}): ${what}\n${output}`);
  }
}

/** Runs a command to its end and throws unless the exit status is 0. */
export async function run(command: readonly string[], options?: ProgramOptions): Promise<Outcome> {
  const program = new Program(command, options);
  program.endInput();
  return await program.waitForSuccess();
}
