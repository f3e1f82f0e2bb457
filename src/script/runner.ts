// Runs a packet script on a stack in virtual time and compares what it does with what it should.

import { beginCall, expectedOutputs } from "./calls.ts";
import type { Attempt, Outcome, Program } from "./descriptors.ts";
import type { Action, Call, Peers, Script, ScriptEvent, Segment } from "./events.ts";
import { assertInfo } from "./info.ts";
import { FIRST_PORT, PEER_ISN, toWire } from "./flow.ts";
import { formatSegment, formatTime } from "./format.ts";
import { icmpFrame, tcpFrame } from "./frames.ts";
import { type Checker, createChecker } from "../sim/checker.ts";
import { createMachine, INBOUND, type Machine, type StackFactory } from "./machine.ts";
import { differences, withScriptTimestamps } from "./match.ts";
import { BadPacket, createTracker, peerNumbers, type Sent, type Tracker } from "./tracker.ts";
import { type Mode, variants } from "./variants.ts";

/** How long `*` waits for a packet. */
const PATIENCE_NANOS = 600e9;
/** After this long without a program nothing of any connection is left: every timer has given up. */
const AFTERMATH_NANOS = 3600e9;

/** What a script's first run tells the others. */
export interface Shared {
  /** When each event took place. */
  schedule: number[];
  /** What each call returned, by its event. */
  results: Map<number, string>;
  timestampBases: Map<number, number>;
}

export interface RunOptions {
  mode: Mode;
  exact: boolean;
  makeStack: StackFactory;
  shared?: Shared;
}

/** One line of a report. */
export interface Step {
  /** Which event of the script it is. */
  at: number;
  line: number;
  expected: string;
  actual: string;
  isFailed: boolean;
}

export interface RunResult {
  steps: Step[];
  /** Why the script failed. */
  failure: string | undefined;
  /** Every frame with its time, and every call's result. */
  trace: string[];
  /** What was sent on each connection, whatever the packets. */
  summary: string[];
  log: LogEntry[];
  shared: Shared;
}

/** What happened, in order: an event of the script, or a packet of the stack. */
export type LogEntry = { time: number; event: ScriptEvent; step: Step } | Sent;

/** A call that waits. */
interface Pending {
  call: Call;
  attempt: Attempt;
  step: Step;
  /** When it has to return. */
  until: number;
}

class Mismatch extends Error {
  override readonly name = "Mismatch";
}

interface Run {
  script: Script;
  options: RunOptions;
  machine: Machine;
  program: Program;
  tracker: Tracker;
  checker: Checker;
  shared: Shared;
  steps: Step[];
  trace: string[];
  log: LogEntry[];
  /** Packets of the stack that no event has taken yet. */
  sent: Sent[];
  pending: Pending[];
  /** Script time of the event before, from which relative times count. */
  base: number;
}

function createRun(script: Script, options: RunOptions): Run {
  const mtu = script.settings.get("mtu") ?? 1500;
  const machine = createMachine(options.makeStack, mtu);
  const shared = options.shared ?? newShared();
  const checker = createChecker(machine.host, (message) => {
    throw new Mismatch(message);
  });
  const isn = script.settings.get("peer_isn") ?? PEER_ISN;
  const tracker = createTracker(isn, shared.timestampBases);
  const program: Program = {
    machine,
    descriptors: new Map(),
    subject: undefined,
    urgent: new Set(),
    wrongBytes: [],
    nextPort: FIRST_PORT,
    onConnect: (peer, localPort) => {
      tracker.flowOf(peer).localPort = localPort;
    },
  };
  const parts = { script, options, machine, program, tracker, checker, shared };
  return { ...parts, steps: [], trace: [], log: [], sent: [], pending: [], base: 0 };
}

function newShared(): Shared {
  return { schedule: [], results: new Map(), timestampBases: new Map() };
}

/** Runs a script once. */
export function runScript(script: Script, options: RunOptions): RunResult {
  const run = createRun(script, options);
  run.machine.watch(() => lookAtPending(run));
  let failure: string | undefined;
  try {
    for (const [at, event] of script.events.entries()) runEvent(run, event, at);
    finish(run);
  } catch (error) {
    if (!(error instanceof Mismatch || error instanceof BadPacket)) throw error;
    failure = error.message;
    const last = run.steps.at(-1);
    if (last) last.isFailed = true;
  }
  const { steps, trace, log, tracker, shared } = run;
  return { steps, failure, trace, log, summary: tracker.summary(), shared };
}

function runEvent(run: Run, event: ScriptEvent, at: number): void {
  const step = { at, line: event.line, expected: event.text, actual: "", isFailed: false };
  run.steps.push(step);
  const target = eventTime(run, event);
  if (run.options.mode === "split" || run.options.mode === "duplicate") {
    runAgain(run, event, step, run.shared.schedule[at] ?? target);
    return;
  }
  const { action } = event;
  if (action.kind !== "outbound") {
    moveTo(run, target);
    run.log.push({ time: run.machine.elapsed(), event, step });
    act(run, event, step);
    settle(run);
  } else if (run.options.mode === "record") moveTo(run, target);
  else expectPackets(run, event, action, step, target);
  const isOpen = event.time.kind === "any" || event.time.latest !== undefined;
  run.base = isOpen ? run.machine.elapsed() : target;
  run.shared.schedule[at] = run.machine.elapsed();
}

/** When an event is due; for `*` now. */
function eventTime(run: Run, { time }: ScriptEvent): number {
  if (time.kind === "any") return run.machine.elapsed();
  return time.kind === "absolute" ? time.at : run.base + time.at;
}

/** A rerun: everything but the stack's packets happens when it did the first time. */
function runAgain(run: Run, event: ScriptEvent, step: Step, when: number): void {
  moveTo(run, when);
  run.base = when;
  if (event.action.kind === "outbound" || event.action.kind === "assert") return;
  act(run, event, step);
  settle(run);
}

/** Calls that wait with a limit get to see it pass. */
function moveTo(run: Run, target: number): void {
  const limits = run.pending.map(({ until }) => until).filter((until) => until < target);
  for (const until of limits.sort((a, b) => a - b)) {
    run.machine.advance(until);
    settle(run);
  }
  run.machine.advance(target);
  collect(run);
}

function settle(run: Run): void {
  run.machine.settle();
  collect(run);
}

function collect(run: Run): void {
  for (const captured of run.machine.takeCaptured()) {
    run.trace.push(`${captured.time} ${Buffer.from(captured.frame).toString("hex")}`);
    const sent = run.tracker.decode(captured);
    run.sent.push(sent);
    run.log.push(sent);
  }
  run.checker.check(run.machine.now(), false);
  const [wrong] = run.program.wrongBytes;
  if (wrong !== undefined) throw new Mismatch(wrong);
}

function act(run: Run, event: ScriptEvent, step: Step): void {
  const { action } = event;
  switch (action.kind) {
    case "inbound":
    case "damaged":
      for (const peer of peerNumbers(action.peers)) arrive(run, peer, action);
      return;
    case "icmp":
      for (const peer of peerNumbers(action.peers)) quote(run, peer, action);
      return;
    case "call":
      startCall(run, event, action.call, step);
      return;
    case "assert":
      assertHolds(run, event, action.text);
  }
}

function arrive(run: Run, peer: number, action: Action & { kind: "inbound" | "damaged" }): void {
  const flow = run.tracker.flowOf(peer);
  const { segment } = action;
  if (segment.flags.includes("S")) flow.firstByte = segment.seq + 1;
  if (segment.urg !== undefined) {
    run.program.urgent.add(segment.seq + segment.urg - 1 - flow.firstByte);
  }
  const wire = toWire(flow, segment);
  if (action.kind === "damaged") {
    run.machine.deliver(tcpFrame(INBOUND, wire, action.damage));
    return;
  }
  for (const one of variants(wire, run.options.mode)) run.machine.deliver(tcpFrame(INBOUND, one));
}

function quote(run: Run, peer: number, { error }: Action & { kind: "icmp" }): void {
  const flow = run.tracker.flowOf(peer);
  const quoted = {
    sourcePort: flow.localPort,
    destinationPort: flow.peerPort,
    flags: ".",
    seq: (error.seq + flow.localBase) >>> 0,
    ack: 0,
    win: 0,
    urg: 0,
    options: [],
    payload: new Uint8Array(),
    ecn: "noecn" as const,
  };
  run.machine.deliver(icmpFrame(INBOUND, error, quoted, error.lengthBytes));
}

function startCall(run: Run, event: ScriptEvent, call: Call, step: Step): void {
  const attempt = beginCall(run.program, call);
  const outcome = attempt();
  if (outcome) {
    finishCall(run, call, step, outcome);
    return;
  }
  const { time } = event;
  const mayWait = time.kind === "any" || time.until !== undefined;
  if (!mayWait) {
    step.actual = "blocks";
    throw new Mismatch(`line ${event.line}: the call blocks`);
  }
  const until = time.kind === "any" ? Number.POSITIVE_INFINITY : endOf(run, time);
  run.pending.push({ call, attempt, step, until });
}

function endOf(run: Run, time: { kind: string; at: number; until?: number }): number {
  const start = time.kind === "absolute" ? 0 : run.base;
  return start + (time.until ?? time.at);
}

/** Lets the calls that wait look again. True if one of them returned. */
function lookAtPending(run: Run): boolean {
  const before = run.pending.length;
  run.pending = run.pending.filter(({ call, attempt, step, until }) => {
    const outcome = attempt();
    if (!outcome) return true;
    finishCall(run, call, step, outcome);
    const late = Math.abs(run.machine.elapsed() - until);
    const isTimed = run.options.mode === "plain" && Number.isFinite(until);
    if (isTimed && late > run.script.toleranceNanos) {
      step.isFailed = true;
      const when = formatTime(run.machine.elapsed());
      throw new Mismatch(`line ${step.line}: the call returned at ${when}`);
    }
    return false;
  });
  return run.pending.length < before;
}

function describe({ result, errno, outputs }: Outcome): string {
  const values = outputs ? ` [${outputs.join(", ")}]` : "";
  return `= ${result}${errno ? ` ${errno}` : ""}${values}`;
}

function finishCall(run: Run, call: Call, step: Step, outcome: Outcome): void {
  step.actual = describe(outcome);
  run.trace.push(`${run.machine.elapsed()} ${call.name} ${step.actual}`);
  const wanted = expectedOutputs(call);
  const isResult = call.result === undefined || call.result === outcome.result;
  const isErrno = call.errno === outcome.errno;
  const areOutputs =
    wanted === undefined ||
    wanted.every((value, at) => value === undefined || value === outcome.outputs?.[at]);
  const { mode, shared } = run.options;
  if (mode === "record") return;
  run.shared.results.set(step.at, shared?.results.get(step.at) ?? step.actual);
  const isSame = run.shared.results.get(step.at) === step.actual;
  if (isResult && isErrno && areOutputs && isSame) return;
  step.isFailed = true;
  throw new Mismatch(`line ${step.line}: ${call.name} ${step.actual}`);
}

function assertHolds(run: Run, event: ScriptEvent, text: string): void {
  const failed = assertInfo(run.program, text, event.line);
  if (failed !== undefined && run.options.mode === "plain") {
    throw new Mismatch(`line ${event.line}: does not hold: ${failed}`);
  }
}

/** Waits for the packet, or for each peer's, of an expectation. */
function expectPackets(
  run: Run,
  { time }: ScriptEvent,
  action: { peers: Peers; segment: Segment },
  step: Step,
  target: number,
): void {
  const { toleranceNanos } = run.script;
  const spread = time.kind === "any" ? PATIENCE_NANOS : (time.latest ?? time.at) - time.at;
  const earliest = time.kind === "any" ? 0 : target - toleranceNanos;
  const limit = target + spread + toleranceNanos;
  for (const peer of peerNumbers(action.peers)) {
    settle(run);
    while (run.sent.length === 0 && run.machine.step(limit)) collect(run);
    const sent = run.sent.shift();
    if (!sent) {
      step.actual = `(nothing until ${formatTime(limit)})`;
      throw new Mismatch(`line ${step.line}: the packet was not sent`);
    }
    const isInTime = sent.time >= earliest && sent.time <= limit;
    comparePacket(run, action.segment, peer, sent, step, isInTime);
  }
}

function comparePacket(
  run: Run,
  expected: Segment,
  peer: number,
  sent: Sent,
  step: Step,
  isInTime: boolean,
): void {
  const actual = withScriptTimestamps(sent.flow, sent.segment, expected);
  run.tracker.rememberTimestamps(sent.flow);
  step.actual = describeSent({ ...sent, segment: actual });
  const { toleranceNanos } = run.script;
  const wrong = differences(expected, actual, { exact: run.options.exact, toleranceNanos });
  if (peer !== sent.peer) wrong.push("peer");
  if (!isInTime) wrong.push("time");
  if (wrong.length === 0) return;
  throw new Mismatch(`line ${step.line}: not as expected: ${wrong.join(", ")}`);
}

export function describeSent({ time, peer, segment }: Sent): string {
  return `${formatTime(time)} > ${peer === 0 ? "" : `@${peer} `}${formatSegment(segment)}`;
}

/** The end: no call waits, no packet is left. */
function finish(run: Run): void {
  for (const { until } of run.pending) if (Number.isFinite(until)) moveTo(run, until);
  if (run.options.mode === "record") moveTo(run, run.base + run.script.toleranceNanos);
  settle(run);
  const [waiting] = run.pending;
  if (waiting && run.options.mode !== "record") {
    waiting.step.actual = "blocks";
    waiting.step.isFailed = true;
    throw new Mismatch(`line ${waiting.step.line}: the call still blocks`);
  }
  run.checker.check(run.machine.now(), true);
  if (run.options.mode === "plain") expectNothing(run);
  if (run.options.mode !== "record") leave(run);
}

function expectNothing(run: Run): void {
  const [extra] = run.sent;
  if (!extra) return;
  const segment = withScriptTimestamps(extra.flow, extra.segment, undefined);
  const actual = describeSent({ ...extra, segment });
  run.steps.push({ at: -1, line: 0, expected: "(nothing)", actual, isFailed: true });
  throw new Mismatch(`a packet that was not expected: ${actual}`);
}

/** The program exits and the peer is silent: in the end the stack must have forgotten everything. */
function leave(run: Run): void {
  const { machine, program, checker } = run;
  run.steps.push({ at: -1, line: 0, expected: "(the end)", actual: "", isFailed: false });
  for (const { index } of program.descriptors.values()) {
    machine.host.sockets.close(index, machine.now());
  }
  machine.advance(machine.elapsed() + AFTERMATH_NANOS);
  machine.settle();
  checker.checkEmpty(machine.now());
}
