// CUBIC in integers against RFC 9438's formulas in floating point, one acknowledgment at a time,
// over a grid of windows and round trips.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { CongestionControl, TcbView, TcpFlag } from "../../build/gen/layout.ts";
import { loadUnits } from "./unit-module.ts";

const C = 0.4;
const BETA = 0.7;
const ALPHA = (3 * (1 - BETA)) / (1 + BETA);
const SECOND = 1e9;
const START = 10 * SECOND;
/** What rounding to whole segments may cost; of large windows, also this part. */
const TOLERANCE_SEGMENTS = 2;
const TOLERANCE_PART = 0.01;
/** A comparison ends after this time or this many acknowledgments. */
const RUN_SECONDS = 20;
const ACKS = 30000;

const { calls, view } = await loadUnits();

function call(name: string, ...args: (number | bigint)[]): number {
  const one = calls[name];
  assert.ok(one, name);
  return one(...args) >>> 0;
}

/** RFC 9438 4.2 to 4.6 after a loss at a window of `wMax`. */
class Model {
  cwnd: number;
  readonly #wMax: number;
  readonly #k: number;
  readonly #rtt: number;
  readonly #prior: number;
  #estimate: number;

  constructor(prior: number, wMax: number, cwnd: number, rttSeconds: number) {
    this.cwnd = cwnd;
    this.#prior = prior;
    this.#wMax = Math.max(wMax, cwnd);
    this.#k = Math.cbrt((this.#wMax - cwnd) / C);
    this.#rtt = rttSeconds;
    this.#estimate = cwnd;
  }

  acked(segments: number, seconds: number): void {
    const alpha = this.#estimate >= this.#prior ? 1 : ALPHA;
    this.#estimate += (alpha * segments) / this.cwnd;
    const cubic = C * (seconds + this.#rtt - this.#k) ** 3 + this.#wMax;
    const target = Math.min(Math.max(cubic, this.cwnd), 1.5 * this.cwnd);
    this.cwnd += (segments * (target - this.cwnd)) / this.cwnd;
    this.cwnd = Math.max(this.cwnd, this.#estimate);
  }
}

/** Largest distance of the stack's window from the model's, over the run. */
function compare(wMax: number, rttSeconds: number, perAck: number): void {
  const at = call("probeConnection", CongestionControl.Cubic);
  const tcb = new TcbView(view, at);
  tcb.flags = TcpFlag.CwndLimited;
  tcb.srttNanos = BigInt(Math.round(rttSeconds * SECOND));
  tcb.cwnd = wMax;
  tcb.ssthresh = wMax;
  const ssthresh = call("probeRecovery", at);
  assert.equal(ssthresh, Math.max(Math.floor((wMax * 7) / 10), 2));
  tcb.cwnd = ssthresh;
  const model = new Model(wMax, wMax, ssthresh, rttSeconds);
  let seconds = 0;
  let cwnd = ssthresh;
  for (let acks = 0; acks < ACKS && seconds < RUN_SECONDS; acks++) {
    cwnd = call("probeAcked", at, perAck, BigInt(Math.round(START + seconds * SECOND)));
    model.acked(perAck, seconds);
    const allowed = Math.max(TOLERANCE_SEGMENTS, model.cwnd * TOLERANCE_PART);
    const message = `wMax ${wMax} rtt ${rttSeconds} at ${seconds} s: ${cwnd} for ${model.cwnd}`;
    assert.ok(Math.abs(cwnd - model.cwnd) <= allowed, message);
    seconds += (rttSeconds * perAck) / cwnd;
  }
}

describe("CUBIC", () => {
  for (const rtt of [0.0005, 0.02, 0.1, 0.3]) {
    for (const wMax of [4, 10, 40, 100, 700, 5000]) {
      it(`follows its curve from ${wMax} segments at ${rtt * 1000} ms`, () => {
        compare(wMax, rtt, 1);
        compare(wMax, rtt, 2);
      });
    }
  }

  it("comes back to the old window after K seconds", () => {
    const at = call("probeConnection", CongestionControl.Cubic);
    const tcb = new TcbView(view, at);
    tcb.flags = TcpFlag.CwndLimited;
    tcb.srttNanos = 100_000_000n;
    tcb.cwnd = 1000;
    tcb.ssthresh = 1000;
    tcb.cwnd = call("probeRecovery", at);
    const k = Math.cbrt((1000 - tcb.cwnd) / C);
    let cwnd = 0;
    for (let seconds = 0; seconds <= k; seconds += 0.1 / tcb.cwnd) {
      cwnd = call("probeAcked", at, 1, BigInt(Math.round(START + seconds * SECOND)));
    }
    assert.ok(Math.abs(cwnd - 1000) <= 10, `${cwnd} after ${k} s`);
  });

  it("starts anew from the window of congestion avoidance after a timeout", () => {
    const at = call("probeConnection", CongestionControl.Cubic);
    const tcb = new TcbView(view, at);
    tcb.flags = TcpFlag.CwndLimited;
    tcb.maxPacketsOut = 1000;
    tcb.cwnd = 100;
    tcb.ssthresh = 100;
    assert.equal(call("probeLoss", at), 70);
    assert.equal(call("probeAcked", at, 69, BigInt(START)), 70);
    call("probeAcked", at, 1, BigInt(START));
    assert.equal(tcb.cubicOrigin, 70);
    assert.equal(tcb.cubicK, 0);
  });
});
