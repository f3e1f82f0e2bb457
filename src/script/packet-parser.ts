// Reads `S. 0:0(0) ack 1 win 65535 <mss 1460,nop,wscale 7>` and ICMP errors that quote a segment.

import type { Cursor } from "./cursor.ts";
import {
  type Action,
  type Damage,
  type Ecn,
  type Peers,
  ScriptError,
  type Segment,
  type TcpOption,
} from "./events.ts";
import { ICMP } from "./symbols.ts";

type Direction = "inbound" | "outbound";

const ECN_MARKS: readonly string[] = ["noecn", "ect0", "ect1", "ce"];
const DAMAGES: readonly string[] = ["checksum", "offset", "short"];
const FLAG_LETTERS = /^[FSRPUEW]+$/;

export function parsePacket(cursor: Cursor, direction: Direction): Action {
  const peers = cursor.accept("@") ? parsePeers(cursor) : { first: 0, last: 0 };
  if (cursor.isNext("[") && cursor.peek(1).kind === "number") return parseIcmp(cursor, peers);
  const damage = cursor.accept("~") ? parseDamage(cursor) : undefined;
  const segment = parseSegment(cursor, direction);
  if (damage !== undefined) return { kind: "damaged", peers, segment, damage };
  return { kind: direction, peers, segment };
}

function parsePeers(cursor: Cursor): Peers {
  const first = cursor.integer("a peer's number");
  return { first, last: cursor.accept("..") ? cursor.integer("the last peer's number") : first };
}

function parseDamage(cursor: Cursor): Damage {
  const { text, line } = cursor.next();
  if (!DAMAGES.includes(text)) throw new ScriptError(line, `unknown damage ${text}`);
  return text as Damage;
}

/** `1:1001(1000)` */
function parseRange(cursor: Cursor): { seq: number; lengthBytes: number } {
  const { line } = cursor.peek();
  const seq = cursor.integer("a sequence number");
  cursor.expect(":");
  const end = cursor.integer("the sequence number behind the last byte");
  cursor.expect("(");
  const lengthBytes = cursor.integer("a length");
  cursor.expect(")");
  if (end - seq !== lengthBytes) {
    throw new ScriptError(line, `${seq}:${end} is not ${lengthBytes} bytes`);
  }
  return { seq, lengthBytes };
}

/** `[1:1461(1460)] icmp unreachable frag_needed mtu 1200` */
function parseIcmp(cursor: Cursor, peers: Peers): Action {
  const { line } = cursor.peek();
  cursor.expect("[");
  const quoted = parseRange(cursor);
  cursor.expect("]");
  cursor.expect("icmp");
  const name = `${cursor.next().text} ${cursor.next().text}`;
  const found = ICMP[name];
  if (found === undefined) throw new ScriptError(line, `unknown ICMP message ${name}`);
  const mtu = cursor.accept("mtu") ? cursor.integer("an MTU") : 0;
  return { kind: "icmp", peers, error: { type: found[0], code: found[1], mtu, ...quoted } };
}

function parseSegment(cursor: Cursor, direction: Direction): Segment {
  const { line } = cursor.peek();
  const ecn = parseEcn(cursor);
  const flags = parseFlags(cursor);
  const range = parseRange(cursor);
  const optional = (word: string) => (cursor.accept(word) ? cursor.integer(word) : undefined);
  const ack = optional("ack");
  const win = optional("win");
  const urg = optional("urg");
  if (flags.includes(".") !== (ack !== undefined)) {
    throw new ScriptError(line, "ack N goes with the flag .");
  }
  if (direction === "inbound" && win === undefined && !flags.includes("R")) {
    throw new ScriptError(line, "a packet of the peer needs its window");
  }
  const options = cursor.accept("<") ? parseOptions(cursor) : [];
  return { flags, ...range, ack, win, urg, options, ecn };
}

function parseEcn(cursor: Cursor): Ecn | undefined {
  if (!cursor.accept("[")) return undefined;
  const { text, line } = cursor.next();
  if (!ECN_MARKS.includes(text)) throw new ScriptError(line, `unknown ECN mark ${text}`);
  cursor.expect("]");
  return text as Ecn;
}

/** `S.`, `.`, `FP.`, `SEW`; `-` for none. In the order of the wire's names, whatever was written. */
function parseFlags(cursor: Cursor): string {
  if (cursor.accept("-")) return "";
  let written = "";
  while (cursor.peek().kind === "word" || cursor.isNext(".")) {
    const { text, line } = cursor.next();
    if (text !== "." && !FLAG_LETTERS.test(text)) {
      throw new ScriptError(line, `unknown flags ${text}`);
    }
    written += text;
  }
  if (written === "") cursor.fail("a packet's flags");
  return orderFlags(written);
}

export const FLAG_ORDER = "FSRP.UEW";

/** One spelling for each set of flags. */
function orderFlags(flags: string): string {
  return [...FLAG_ORDER].filter((one) => flags.includes(one)).join("");
}

function parseOptions(cursor: Cursor): TcpOption[] | undefined {
  if (cursor.accept("...")) {
    cursor.expect(">");
    return undefined;
  }
  const options: TcpOption[] = [];
  while (!cursor.accept(">")) {
    if (options.length > 0) cursor.expect(",");
    options.push(parseOption(cursor));
  }
  return options;
}

function parseOption(cursor: Cursor): TcpOption {
  const { text, line } = cursor.take("word", "a TCP option");
  switch (text) {
    case "eol":
    case "nop":
    case "sackOK":
      return { kind: text };
    case "mss":
    case "wscale":
      return { kind: text, value: cursor.integer("the option's value") };
    case "TS":
      return parseTimestamps(cursor);
    case "sack":
      return { kind: "sack", blocks: parseBlocks(cursor) };
    case "option":
      return parseRawOption(cursor);
    default:
      throw new ScriptError(line, `unknown TCP option ${text}`);
  }
}

function parseTimestamps(cursor: Cursor): TcpOption {
  cursor.expect("val");
  const value = cursor.integer("a timestamp");
  cursor.expect("ecr");
  return { kind: "TS", value, echo: cursor.integer("the timestamp that is echoed") };
}

function parseBlocks(cursor: Cursor): [number, number][] {
  const blocks: [number, number][] = [];
  while (cursor.peek().kind === "number") {
    const start = cursor.integer("where the block starts");
    cursor.expect(":");
    blocks.push([start, cursor.integer("where the block ends")]);
  }
  return blocks;
}

/** `option 254 [1,2,3]`; `option 254 [] length 9` claims nine bytes. */
function parseRawOption(cursor: Cursor): TcpOption {
  const number = cursor.integer("the option's number");
  const data: number[] = [];
  cursor.expect("[");
  while (!cursor.accept("]")) {
    if (data.length > 0) cursor.expect(",");
    data.push(cursor.integer("a byte"));
  }
  const option: TcpOption = { kind: "raw", number, data };
  if (cursor.accept("length")) option.length = cursor.integer("the length byte");
  return option;
}
