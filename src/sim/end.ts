// One end of a conversation: a socket whose every byte, end and error is held against the ledger.

import { TcpOption } from "../../build/gen/layout.ts";
import { contents, type Conversation, firstDifference, type Stream } from "./ledger.ts";
import type { Node } from "./node.ts";
import { DIED } from "./fuse.ts";
import { Killed, type SocketWait, type Wait } from "./programs.ts";

const EAGAIN = 11;
const ECONNRESET = 104;
const READABLE = 1 | 8 | 16 | 0x2000;
const WRITABLE = 4 | 8 | 16;
const ERROR = 8;
const SHUT_WRITE = 1;
/** A program that is told that it may send and can't, tries again after this. */
const RETRY_NANOS = 1_000_000;

/** What came of a receive(): bytes, the end of the stream, nothing yet, or an error. */
export type Received = number | "end" | "wait" | "error";

export class End {
  readonly node: Node;
  readonly index: number;
  readonly conversation: Conversation;
  /** What this end sends, and what it receives. */
  readonly out: Stream;
  readonly into: Stream;
  hasFailed = false;
  hasEnded = false;
  isClosed = false;
  private readonly title: string;
  private readonly cookie: bigint;

  constructor(node: Node, index: number, conversation: Conversation, isClient: boolean) {
    const { client, server, up, down } = conversation;
    this.node = node;
    this.index = index;
    this.conversation = conversation;
    this.out = isClient ? up : down;
    this.into = isClient ? down : up;
    const path = `${client.address}:${client.port}-${server.address}:${server.port}`;
    this.cookie = node.sockets.socketAt(index).cookie;
    this.title = `${path} ${isClient ? "client" : "server"}`;
  }

  fail(message: string): never {
    return this.node.fail(`${this.title}: ${message}`);
  }

  private closeSocket(): void {
    this.calling(() => this.node.sockets.close(this.index, this.node.callTime()));
    this.isClosed = true;
  }

  /** Makes a call that may kill the program: then exasockd closes what it had. */
  private calling<T>(call: () => T): T {
    if (this.isClosed) throw new Killed();
    const result = this.node.perilous(call);
    if (result !== DIED) return result;
    this.conversation.mayFail = true;
    this.out.isFinished = true;
    if (this.node.sockets.isOpen(this.index, this.cookie)) {
      this.node.sockets.close(this.index, this.node.callTime());
    }
    this.isClosed = true;
    throw new Killed();
  }

  private failed(errno: number, call: string): "error" {
    if (!this.conversation.mayFail) this.fail(`${call}: error ${errno}`);
    if (errno === ECONNRESET && this.hasFailed) this.fail(`${call}: a second reset`);
    this.hasFailed = true;
    return "error";
  }

  /** Sends up to `count` of the stream's next bytes; how many were taken. */
  send(count: number, flags = 0): number | "wait" | "error" {
    const data = contents(this.out, this.out.written, count);
    this.out.unsure = data.length;
    const taken = this.calling(() =>
      this.node.sockets.send(this.index, data, this.node.callTime(), flags),
    );
    this.out.unsure = 0;
    if (taken === -EAGAIN) return "wait";
    if (taken < 0) return this.failed(-taken, "send");
    this.out.written += taken;
    return taken;
  }

  /** Receives up to `max` bytes and checks them. */
  receive(max: number): Received {
    const data = this.calling(() =>
      this.node.sockets.receive(this.index, max, this.node.callTime()),
    );
    if (typeof data === "number") return data === -EAGAIN ? "wait" : this.failed(-data, "recv");
    if (data.length === 0) return this.ended();
    this.checkContents(data, this.into.read);
    this.into.read += data.length;
    return data.length;
  }

  private checkContents(data: Uint8Array, position: number): void {
    if (this.conversation.isForged) return;
    const { written, unsure } = this.into;
    if (position + data.length > written + unsure) {
      this.fail(`received up to ${position + data.length}, but only ${written} were sent`);
    }
    const wrong = firstDifference(this.into, position, data);
    if (wrong >= 0) this.fail(`byte ${position + wrong} is not what was sent`);
  }

  private ended(): "end" {
    const { isFinished, read, written, unsure } = this.into;
    const isWhole = isFinished && read >= written && read <= written + unsure;
    if (!isWhole && !this.hasFailed && !this.conversation.isForged) {
      this.fail(`the end after ${read} bytes of ${written}${isFinished ? "" : ", not closed"}`);
    }
    this.hasEnded = true;
    return "end";
  }

  /** MSG_PEEK: looks at up to `max` bytes from `skip` on, which stay; how many there were. */
  peek(max: number, skip: number): number {
    const data = this.calling(() => this.node.sockets.peek(this.index, max, skip));
    if (data.length > 0) this.checkContents(data, this.into.read + skip);
    return data.length;
  }

  /** shutdown(2) for writing. */
  shutdown(): void {
    this.out.isFinished = true;
    const result = this.calling(() =>
      this.node.sockets.shutdown(this.index, SHUT_WRITE, this.node.callTime()),
    );
    if (result < 0) this.failed(-result, "shutdown");
  }

  /** The last close. What the peer still sends, or what is not read, resets the connection. */
  close(): void {
    if (!this.hasEnded) this.conversation.mayFail = true;
    this.out.isFinished = true;
    this.closeSocket();
  }

  /** SO_LINGER with 0 seconds, and close. */
  abort(): void {
    this.conversation.mayFail = true;
    this.option(TcpOption.Linger, 0);
    this.closeSocket();
  }

  /** Sets a TcpOption. */
  option(option: number, value: number): void {
    this.calling(() => {
      this.node.sockets.setOption(this.index, option, value, this.node.callTime());
    });
  }

  private readiness(): number {
    return this.node.sockets.readiness(this.index);
  }

  private becomes(bits: number): SocketWait {
    return { socket: this.index, isReady: () => this.isClosed || (this.readiness() & bits) !== 0 };
  }

  get readable(): Wait {
    return this.becomes(READABLE);
  }

  get writable(): Wait {
    return this.becomes(WRITABLE);
  }

  /** What to yield after send() said "wait". */
  get toSend(): Wait {
    const wait = this.becomes(WRITABLE);
    return wait.isReady() ? RETRY_NANOS : wait;
  }

  /** Waits until connected. False when it failed, which the conversation must allow. */
  *connected(): Generator<Wait, boolean, void> {
    yield this.writable;
    if ((this.readiness() & ERROR) === 0) return true;
    this.failed(this.node.sockets.takeError(this.index), "connect");
    return false;
  }
}
