// Socket calls of another process as TypeScript methods. Every call writes what was called and what
// came back into the transcript, in the words of the manual pages.

import { errnoName, namesOf, numberOf } from "./constants.ts";
import type { Argument, Batch, CallResult, ForkWay, Libc } from "./libc.ts";
import * as memory from "./memory.ts";
import * as messages from "./messages.ts";
import { bytesOf, type Data, type Message } from "./messages.ts";
import { type Address, showBytes, type Transcript } from "./transcript.ts";

export type Flags = string | number;

/** What a call returned, already written down. */
export interface Reply {
  result: number;
  /** The error's name, or the empty string. */
  error: string;
}

export interface Received extends Reply {
  data: Buffer;
  from?: Address;
  descriptors: number[];
  /** Control messages in words. */
  control: string[];
}

type Caller = (name: string, args: readonly Argument[]) => Promise<CallResult>;

interface State {
  libc: Libc;
  transcript: Transcript;
  actor: string;
  caller: Caller;
  /** The error that must come, "" for success, null for whatever comes. */
  expected: string | null;
  /** Whether calls are written down. */
  told: boolean;
  /** Called when something else came. */
  surprised: (message: string) => void;
}

/** A function that returns an int leaves garbage above 32 bits. */
const WIDE_RESULTS = new Set([
  ...["recv", "recvfrom", "recvmsg", "send", "sendto", "sendmsg", "read", "write", "readv"],
  ...["writev", "pread", "pwrite", "syscall", "fdopen", "fgets", "sendfile", "splice"],
  ...["preadv", "pwritev", "preadv2", "pwritev2", "sendfile64"],
  ...["__recv_chk", "__recvfrom_chk", "__read_chk"],
]);

/** The calls of one process, or of one of its threads or children. */
export class Calls {
  readonly state: State;

  constructor(state: State) {
    this.state = state;
  }

  get libc(): Libc {
    return this.state.libc;
  }

  /** The same process, whose next call must fail with this error. */
  expecting(error: string): Calls {
    return new Calls({ ...this.state, expected: error });
  }

  /** The same process, for a call that may or may not succeed (the oracle decides). */
  get either(): Calls {
    return new Calls({ ...this.state, expected: null });
  }

  /** The same process, for calls that are not written down and may fail. */
  get untold(): Calls {
    return new Calls({ ...this.state, expected: null, told: false });
  }

  /** The same process; each call is made in a new thread. */
  get inThread(): Calls {
    const caller: Caller = (name, args) => this.libc.threadCall(name, args);
    return new Calls({ ...this.state, caller, actor: `${this.state.actor} (thread)` });
  }

  /** Forks; the child makes the calls, in order, and exits. Their replies come as promises. */
  async fork<T>(
    calls: (child: Calls, batch: Batch) => T,
    verb: ForkWay = "fork",
  ): Promise<{ pid: number; replies: T }> {
    const batch = this.libc.batch();
    const caller: Caller = (name, args) => batch.call(name, args);
    const child = new Calls({ ...this.state, caller, actor: `${this.state.actor} (child)` });
    const replies = calls(child, batch);
    const { result } = await this.libc.startChild(verb, batch.commands);
    return { pid: Number(result), replies };
  }

  /** Any call by name. The label stands for its arguments in the transcript. */
  async raw(name: string, args: readonly Argument[], label: string): Promise<Reply> {
    return await this.make(name, args, label);
  }

  note(line: string): void {
    this.state.transcript.add(this.state.actor, line);
  }

  /** Makes a call and writes it down; `show` turns a success into words. */
  async make(
    name: string,
    args: readonly Argument[],
    label: string,
    show?: (result: number) => Promise<string>,
  ): Promise<Reply> {
    const { transcript, actor, told, caller } = this.state;
    const call = `${name}(${label})`;
    const line = told ? transcript.begin(actor, `${call} has not returned`) : null;
    const answer = await caller(name, args);
    const width = WIDE_RESULTS.has(name) ? 64 : 32;
    const result = Number(BigInt.asIntN(width, answer.result));
    const error = result === -1 ? errnoName(answer.errno) : "";
    const shown = error === "" ? await show?.(result) : error;
    line?.end(`${call} = ${[result, shown].filter((x) => x !== undefined).join(" ")}`);
    const { expected } = this.state;
    if (expected !== null && expected !== error) {
      this.state.surprised(
        `${name}(${label}) gave ${error || "no error"}, not ${expected || "success"}`,
      );
    }
    return { result, error };
  }

  show(address: Address): string {
    return this.state.transcript.showAddress(address);
  }

  // --- descriptors ---

  async socket(type: Flags = "SOCK_DGRAM", domain = "AF_INET", protocol = 0): Promise<number> {
    const args = [numberOf(domain), numberOf(type), protocol];
    const label = `${domain}, ${type}, ${protocol}`;
    return (await this.make("socket", args, label)).result;
  }

  close(fd: number): Promise<Reply> {
    return this.make("close", [fd], `${fd}`);
  }

  close_range(first: number, last: number, flags: Flags = 0): Promise<Reply> {
    const label = `${first}, ${last}, ${flags}`;
    return this.make("close_range", [first, last, numberOf(flags)], label);
  }

  async dup(fd: number): Promise<number> {
    return (await this.make("dup", [fd], `${fd}`)).result;
  }

  async dup2(fd: number, to: number): Promise<number> {
    return (await this.make("dup2", [fd, to], `${fd}, ${to}`)).result;
  }

  async dup3(fd: number, to: number, flags: Flags): Promise<Reply> {
    return await this.make("dup3", [fd, to, numberOf(flags)], `${fd}, ${to}, ${flags}`);
  }

  fcntl(fd: number, command: string, argument: Flags = 0, name = "fcntl"): Promise<Reply> {
    const show = async (result: number) => {
      return command === "F_GETFL" ? namesOf(result & ~0o100003, "O_") : "";
    };
    const args = [fd, numberOf(command), numberOf(argument)];
    return this.make(name, args, `${fd}, ${command}, ${argument}`, show);
  }

  /** An ioctl with an int that the kernel reads and writes. */
  async ioctl(fd: number, request: string, value = 0): Promise<number> {
    const at = this.libc.put(memory.int32(value));
    let after = value;
    const show = async () => {
      after = (await this.libc.peek(at, 4)).readInt32LE(0);
      return `[${after}]`;
    };
    await this.make("ioctl", [fd, numberOf(request), at], `${fd}, ${request}, [${value}]`, show);
    return after;
  }

  async pipe(): Promise<[number, number]> {
    return await this.#pair("pipe", [], "");
  }

  async socketpair(type = "SOCK_STREAM"): Promise<[number, number]> {
    const args = [numberOf("AF_UNIX"), numberOf(type), 0];
    return await this.#pair("socketpair", args, `AF_UNIX, ${type}, 0`);
  }

  async #pair(name: string, args: readonly Argument[], label: string): Promise<[number, number]> {
    const at = this.libc.reserve(8);
    const pair: [number, number] = [-1, -1];
    await this.make(name, [...args, at], label, async () => {
      const bytes = await this.libc.peek(at, 8);
      pair[0] = bytes.readInt32LE(0);
      pair[1] = bytes.readInt32LE(4);
      return `[${pair}]`;
    });
    return pair;
  }

  // --- addresses ---

  bind(fd: number, to: Address): Promise<Reply> {
    return this.#withAddress("bind", fd, to);
  }

  connect(fd: number, to: Address): Promise<Reply> {
    return this.#withAddress("connect", fd, to);
  }

  #withAddress(name: string, fd: number, to: Address): Promise<Reply> {
    const at = this.libc.put(memory.sockaddrBytes(to));
    const label = `${fd}, ${this.show(to)}`;
    return this.make(name, [fd, at, memory.SOCKADDR_BYTES], label);
  }

  /** connect to AF_UNSPEC: the socket has no peer any more. */
  disconnect(fd: number): Promise<Reply> {
    const at = this.libc.reserve(memory.SOCKADDR_BYTES);
    return this.make("connect", [fd, at, memory.SOCKADDR_BYTES], `${fd}, AF_UNSPEC`);
  }

  getsockname(fd: number): Promise<Address> {
    return this.#getName("getsockname", fd);
  }

  getpeername(fd: number): Promise<Address> {
    return this.#getName("getpeername", fd);
  }

  async #getName(name: string, fd: number): Promise<Address> {
    const at = this.libc.reserve(memory.SOCKADDR_BYTES);
    const length = this.libc.put(memory.int32(memory.SOCKADDR_BYTES));
    let address: Address = { address: "0.0.0.0", port: 0 };
    await this.make(name, [fd, at, length], `${fd}`, async () => {
      address = memory.readAddress(await this.libc.peek(at, memory.SOCKADDR_BYTES));
      const bytes = (await this.libc.peek(length, 4)).readInt32LE(0);
      return `${this.show(address)} (${bytes} bytes)`;
    });
    return address;
  }

  // --- sending ---

  send(fd: number, data: Data, flags: Flags = 0): Promise<Reply> {
    const bytes = bytesOf(data);
    const args = [fd, this.libc.put(bytes), bytes.length, numberOf(flags)];
    return this.make("send", args, `${fd}, ${showBytes(bytes)}, ${flags}`);
  }

  write(fd: number, data: Data): Promise<Reply> {
    const bytes = bytesOf(data);
    const args = [fd, this.libc.put(bytes), bytes.length];
    return this.make("write", args, `${fd}, ${showBytes(bytes)}`);
  }

  sendto(fd: number, data: Data, to: Address, flags: Flags = 0): Promise<Reply> {
    const bytes = bytesOf(data);
    const at = this.libc.put(memory.sockaddrBytes(to));
    const memoryOfData = this.libc.put(bytes);
    const args = [fd, memoryOfData, bytes.length, numberOf(flags), at, memory.SOCKADDR_BYTES];
    const label = `${fd}, ${showBytes(bytes)}, ${flags}, ${this.show(to)}`;
    return this.make("sendto", args, label);
  }

  writev(fd: number, parts: readonly Data[]): Promise<Reply> {
    const vector = messages.vectorAt(this.libc, parts.map(bytesOf));
    const label = `${fd}, [${parts.map((part) => showBytes(bytesOf(part))).join(", ")}]`;
    return this.make("writev", [fd, vector, parts.length], label);
  }

  sendmsg(fd: number, message: Message, flags: Flags = 0): Promise<Reply> {
    const at = this.libc.put(messages.header(this.libc, message));
    const label = `${fd}, ${messages.show(this.state.transcript, message)}, ${flags}`;
    return this.make("sendmsg", [fd, at, numberOf(flags)], label);
  }

  sendmmsg(fd: number, batch: readonly Message[], flags: Flags = 0): Promise<Reply> {
    const headers = batch.map((message) =>
      Buffer.concat([messages.header(this.libc, message), Buffer.alloc(8)]),
    );
    const at = this.libc.put(Buffer.concat(headers));
    const label = `${fd}, [${batch.map((m) => messages.show(this.state.transcript, m)).join(", ")}], ${flags}`;
    const show = async (count: number) => {
      const lengths = await messages.lengths(this.libc, at, count);
      return `lengths [${lengths}]`;
    };
    return this.make("sendmmsg", [fd, at, batch.length, numberOf(flags)], label, show);
  }

  // --- receiving ---

  recv(fd: number, size = 2048, flags: Flags = 0): Promise<Received> {
    return this.receiveWith("recv", fd, size, [numberOf(flags)], `${fd}, ${size}, ${flags}`);
  }

  read(fd: number, size = 2048): Promise<Received> {
    return this.receiveWith("read", fd, size, [], `${fd}, ${size}`);
  }

  /** Any call of the form name(fd, buffer, size, …more). */
  async receiveWith(
    name: string,
    fd: number,
    size: number,
    more: readonly Argument[],
    label: string,
  ): Promise<Received> {
    const at = this.libc.reserve(size);
    let data: Buffer = Buffer.alloc(0);
    const reply = await this.make(name, [fd, at, size, ...more], label, async (result) => {
      data = await this.libc.peek(at, Math.min(result, size));
      return showBytes(data);
    });
    return { ...reply, data, descriptors: [], control: [] };
  }

  async recvfrom(fd: number, size = 2048, flags: Flags = 0): Promise<Received> {
    const buffer = this.libc.reserve(size);
    const at = this.libc.reserve(memory.SOCKADDR_BYTES);
    const length = this.libc.put(memory.int32(memory.SOCKADDR_BYTES));
    const args = [fd, buffer, size, numberOf(flags), at, length];
    let data: Buffer = Buffer.alloc(0);
    let from: Address = { address: "0.0.0.0", port: 0 };
    const show = async (result: number) => {
      data = await this.libc.peek(buffer, Math.min(result, size));
      from = memory.readAddress(await this.libc.peek(at, memory.SOCKADDR_BYTES));
      const bytes = (await this.libc.peek(length, 4)).readInt32LE(0);
      return `${showBytes(data)} from ${this.show(from)} (${bytes} bytes)`;
    };
    const reply = await this.make("recvfrom", args, `${fd}, ${size}, ${flags}`, show);
    return { ...reply, data, from, descriptors: [], control: [] };
  }

  async readv(fd: number, sizes: readonly number[]): Promise<Reply> {
    const buffers = sizes.map((size) => this.libc.reserve(size));
    const vector = this.libc.put(memory.words(...buffers.flatMap((at, i) => [at, sizes[i] ?? 0])));
    const show = async (result: number) => {
      const parts = await messages.readParts(this.libc, { buffers, sizes }, result);
      return parts.map(showBytes).join("+");
    };
    return await this.make("readv", [fd, vector, sizes.length], `${fd}, [${sizes}]`, show);
  }

  async recvmsg(
    fd: number,
    sizes: readonly number[] = [2048],
    options: { flags?: Flags; controlBytes?: number } = {},
  ): Promise<Received> {
    const { flags = 0, controlBytes = 0 } = options;
    const space = messages.receiveSpace(this.libc, sizes, controlBytes);
    const nothing = { data: Buffer.alloc(0), descriptors: [], control: [] };
    const received: Received = { result: -1, error: "", ...nothing };
    const at = this.libc.put(space.header);
    const show = async (result: number) => {
      const shown = await messages.readHeader(this.state, at, space, result);
      const { data, from, descriptors, control } = shown;
      Object.assign(received, { data, from, descriptors, control });
      return shown.text;
    };
    const label = `${fd}, [${sizes}], control ${controlBytes}, ${flags}`;
    const reply = await this.make("recvmsg", [fd, at, numberOf(flags)], label, show);
    return { ...received, ...reply };
  }

  /** recvmmsg into `count` messages of one buffer each; a negative limit means no timeout. */
  async recvmmsg(
    fd: number,
    count: number,
    options: { size?: number; flags?: Flags; limitMillis?: number } = {},
  ): Promise<Reply & { texts: string[] }> {
    const { size = 2048, flags = 0, limitMillis = -1 } = options;
    const spaces = Array.from({ length: count }, () => messages.receiveSpace(this.libc, [size], 0));
    const at = this.libc.put(
      Buffer.concat(spaces.map(({ header }) => Buffer.concat([header, Buffer.alloc(8)]))),
    );
    const limit = limitMillis < 0 ? 0 : this.libc.put(memory.timespec(limitMillis));
    const texts: string[] = [];
    const show = async (result: number) => {
      const lengths = await messages.lengths(this.libc, at, result);
      for (const [i, space] of spaces.slice(0, result).entries()) {
        const header = at + i * memory.MMSGHDR_BYTES;
        texts.push((await messages.readHeader(this.state, header, space, lengths[i] ?? 0)).text);
      }
      return texts.join("; ");
    };
    const label = `${fd}, ${count}, ${flags}, ${limitMillis} ms`;
    const args = [fd, at, count, numberOf(flags), limit];
    return { ...(await this.make("recvmmsg", args, label, show)), texts };
  }

  // --- options ---

  setsockopt(fd: number, level: string, option: string, value: number | Buffer): Promise<Reply> {
    const bytes = typeof value === "number" ? memory.int32(value) : value;
    const args = [fd, numberOf(level), numberOf(option), this.libc.put(bytes), bytes.length];
    const shown = typeof value === "number" ? String(value) : `0x${value.toString("hex")}`;
    return this.make("setsockopt", args, `${fd}, ${level}, ${option}, ${shown}`);
  }

  /** An option's value: a number when it is an int, whatever its size. */
  async getsockopt(fd: number, level: string, option: string, lengthBytes = 4): Promise<number> {
    const at = this.libc.reserve(lengthBytes);
    const length = this.libc.put(memory.int32(lengthBytes));
    let value = Number.NaN;
    const args = [fd, numberOf(level), numberOf(option), at, length];
    await this.make("getsockopt", args, `${fd}, ${level}, ${option}, ${lengthBytes}`, async () => {
      const given = (await this.libc.peek(length, 4)).readInt32LE(0);
      const bytes = await this.libc.peek(at, given);
      if (given === 4) value = bytes.readInt32LE(0);
      if (option === "SO_ERROR" && given === 4)
        return value === 0 ? "[0]" : `[${errnoName(value)}]`;
      return given === 4 ? `[${value}]` : `[0x${bytes.toString("hex")}]`;
    });
    return value;
  }

  shutdown(fd: number, how: string): Promise<Reply> {
    return this.make("shutdown", [fd, numberOf(how)], `${fd}, ${how}`);
  }

  // --- memory and processes ---

  waitpid(pid: number): Promise<Reply> {
    const at = this.libc.reserve(4);
    const show = async () => `status ${(await this.libc.peek(at, 4)).readInt32LE(0)}`;
    return this.#makeQuietly("waitpid", [pid, at, 0], "the child", show);
  }

  /** As #make, without the result, which differs from run to run. */
  async #makeQuietly(
    name: string,
    args: readonly Argument[],
    label: string,
    show: () => Promise<string>,
  ): Promise<Reply> {
    const { result, errno } = await this.state.caller(name, args);
    const failed = BigInt.asIntN(32, result) === -1n;
    this.note(`${name}(${label}): ${failed ? errnoName(errno) : await show()}`);
    return { result: Number(BigInt.asIntN(32, result)), error: failed ? errnoName(errno) : "" };
  }
}
