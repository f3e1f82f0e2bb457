// Standard I/O streams of another process; see calls.ts.

import type { Calls } from "./calls.ts";
import { showBytes } from "./transcript.ts";

const LINE_BYTES_MAX = 4096;

/** A FILE of another process. */
export class Stream {
  readonly #calls: Calls;
  readonly #file: bigint;

  private constructor(calls: Calls, file: bigint) {
    this.#calls = calls;
    this.#file = file;
  }

  /** fdopen. */
  static async open(calls: Calls, fd: number, mode: string): Promise<Stream> {
    const at = calls.libc.put(Buffer.from(`${mode}\0`));
    const { result } = await calls.libc.call("fdopen", [fd, at]);
    calls.note(`fdopen(${fd}, "${mode}") = ${result === 0n ? "NULL" : "a stream"}`);
    return new Stream(calls, result);
  }

  /** fgets: one line, or null at the end of the file. */
  async gets(): Promise<string | null> {
    const at = this.#calls.libc.reserve(LINE_BYTES_MAX);
    const { result } = await this.#calls.libc.call("fgets", [at, LINE_BYTES_MAX, this.#file]);
    const bytes = await this.#calls.libc.peek(at, LINE_BYTES_MAX);
    const line = result === 0n ? null : bytes.subarray(0, bytes.indexOf(0));
    this.#calls.note(`fgets() = ${line === null ? "NULL" : showBytes(line)}`);
    return line === null ? null : line.toString("latin1");
  }

  /** fputs. */
  async puts(text: string): Promise<void> {
    const at = this.#calls.libc.put(Buffer.from(`${text}\0`));
    const { result } = await this.#calls.libc.call("fputs", [at, this.#file]);
    this.#calls.note(
      `fputs(${JSON.stringify(text)}) ${BigInt.asIntN(32, result) < 0 ? "failed" : ""}`,
    );
  }

  /** fread of single bytes; returns how many came. */
  async read(count: number): Promise<void> {
    const at = this.#calls.libc.reserve(count);
    const { result } = await this.#calls.libc.call("fread", [at, 1, count, this.#file]);
    const bytes = await this.#calls.libc.peek(at, Number(result));
    this.#calls.note(`fread(${count}) = ${result} ${showBytes(bytes)}`);
  }

  /** fflush, fclose, fileno, ferror … : all that take only the stream and return an int. */
  async call(name: string): Promise<void> {
    const { result } = await this.#calls.libc.call(name, [this.#file]);
    this.#calls.note(`${name}() = ${BigInt.asIntN(32, result)}`);
  }

  /** setvbuf without a buffer (_IONBF 2) or by lines (_IOLBF 1). */
  async buffering(mode: number): Promise<void> {
    const { result } = await this.#calls.libc.call("setvbuf", [this.#file, 0, mode, 0]);
    this.#calls.note(`setvbuf(${mode}) = ${BigInt.asIntN(32, result)}`);
  }
}
