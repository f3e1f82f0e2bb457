// What a packet script says, as data: the parser writes it, the runner acts on it.

/** Times are nanoseconds of virtual time since the script began. */
export type EventTime =
  | {
      kind: "absolute" | "relative";
      at: number;
      /** When a call that waits has to return. */
      until?: number;
      /** A packet may also come later, up to this. */
      latest?: number;
    }
  /** `*`: whenever it happens. */
  | { kind: "any" };

export type TcpOption =
  | { kind: "eol" | "nop" | "sackOK" }
  | { kind: "mss" | "wscale"; value: number }
  | { kind: "TS"; value: number; echo: number }
  | { kind: "sack"; blocks: [number, number][] }
  /** An option given byte by byte: `option 253 [1,2,3]`, and its length byte if that is to lie. */
  | { kind: "raw"; number: number; data: number[]; length?: number };

export type Ecn = "noecn" | "ect0" | "ect1" | "ce";

/** A TCP segment as it is written in a script: sequence numbers relative to each side's first. */
export interface Segment {
  /** A subset of "FSRP.UEW": the dot is ACK, E is ECE, W is CWR. */
  flags: string;
  seq: number;
  lengthBytes: number;
  ack: number | undefined;
  win: number | undefined;
  urg: number | undefined;
  /** undefined: `<...>`, any options will do. */
  options: TcpOption[] | undefined;
  ecn: Ecn | undefined;
}

/** Ports of the peer that take part, counted from 0: `@2` is one, `@2..9` are eight. */
export interface Peers {
  first: number;
  last: number;
}

export interface IcmpError {
  type: number;
  code: number;
  mtu: number;
  /** Of the segment it quotes. */
  seq: number;
  lengthBytes: number;
}

export type Argument =
  | { kind: "number"; value: number; text: string }
  | { kind: "string"; value: string }
  /** `...` */
  | { kind: "any" }
  | { kind: "list"; items: Argument[] }
  | { kind: "struct"; fields: Map<string, Argument> };

/** A system call and what it must return. */
export interface Call {
  name: string;
  arguments: Argument[];
  /** undefined: anything. */
  result: number | undefined;
  /** Name of the errno, when the result is -1. */
  errno: string | undefined;
}

export type Action =
  | { kind: "inbound"; peers: Peers; segment: Segment }
  | { kind: "outbound"; peers: Peers; segment: Segment }
  | { kind: "icmp"; peers: Peers; error: IcmpError }
  /** A segment with the given damage: `< ~checksum S 0:0(0)`. */
  | { kind: "damaged"; peers: Peers; segment: Segment; damage: Damage }
  | { kind: "call"; call: Call }
  | { kind: "assert"; text: string };

export type Damage = "checksum" | "offset" | "short";

export interface ScriptEvent {
  time: EventTime;
  action: Action;
  /** In the Markdown file, from 1. */
  line: number;
  /** As written, on one line. */
  text: string;
  /** Of the beginning that a script goes on from: its line is another fence's. */
  isBefore?: boolean;
}

export interface Script {
  events: ScriptEvent[];
  /** How far a time may be off. */
  toleranceNanos: number;
  /** Settings of `--name=value` lines other than the tolerance. */
  settings: Map<string, number>;
}

/** A script that can't be read: a mistake in a file, shown in one line. */
export class ScriptError extends Error {
  override readonly name = "ScriptError";
  readonly line: number;

  constructor(line: number, message: string) {
    super(message);
    this.line = line;
  }
}
