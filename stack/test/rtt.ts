// Round-trip times and timeouts.

import { backedOffRto, MAX_RTO_NANOS, MIN_RTO_NANOS, MIN_RTT_WINDOW_NANOS } from "../tcp/rtt";
import { updateMinRtt, updateRtt } from "../tcp/rtt";
import { Tcb } from "../tcp/tcb";
import { check, freshTcb, scramble } from "./check";

const MILLI: u64 = 1000000;

function fresh(): Tcb {
  return changetype<Tcb>(<usize>freshTcb());
}

export function test_the_first_sample_sets_everything(): void {
  const tcb = fresh();
  updateRtt(tcb, 400 * MILLI);
  check(tcb.srttNanos == 400 * MILLI && tcb.rttvarNanos == 200 * MILLI);
  check(tcb.rtoNanos == 1200 * MILLI);
}

export function test_later_samples_count_an_eighth_and_a_quarter(): void {
  const tcb = fresh();
  updateRtt(tcb, 400 * MILLI);
  updateRtt(tcb, 800 * MILLI);
  check(tcb.srttNanos == 450 * MILLI && tcb.rttvarNanos == 250 * MILLI);
  updateRtt(tcb, 50 * MILLI);
  check(tcb.srttNanos == 400 * MILLI && tcb.rttvarNanos == 287500000);
}

export function test_many_samples_per_round_trip_count_less_each(): void {
  const tcb = fresh();
  updateRtt(tcb, 400 * MILLI);
  tcb.packetsOut = 32;
  updateRtt(tcb, 800 * MILLI);
  check(tcb.srttNanos == 400 * MILLI + (400 * MILLI) / 128);
}

export function test_the_timeout_exceeds_the_round_trip_by_the_minimum(): void {
  const tcb = fresh();
  for (let turn: u32 = 0; turn < 100; turn++) updateRtt(tcb, 10 * MILLI);
  check(tcb.srttNanos == 10 * MILLI);
  check(tcb.rtoNanos == 10 * MILLI + MIN_RTO_NANOS);
}

export function test_the_timeout_stays_within_its_bounds_whatever_is_measured(): void {
  const tcb = fresh();
  let value: u32 = 9;
  for (let turn: u32 = 0; turn < 10000; turn++) {
    value = scramble(value);
    tcb.packetsOut = value & 1023;
    updateRtt(tcb, (<u64>value) << (value & 31));
    check(tcb.rtoNanos > MIN_RTO_NANOS && tcb.rtoNanos <= MAX_RTO_NANOS && tcb.srttNanos > 0);
  }
}

export function test_backoff_doubles_up_to_two_minutes(): void {
  const tcb = fresh();
  tcb.rtoNanos = 300 * MILLI;
  check(backedOffRto(tcb) == 300 * MILLI);
  tcb.backoff = 3;
  check(backedOffRto(tcb) == 2400 * MILLI);
  for (let backoff: u32 = 9; backoff < 256; backoff++) {
    tcb.backoff = <u8>backoff;
    check(backedOffRto(tcb) == MAX_RTO_NANOS);
  }
}

export function test_the_smallest_round_trip_is_forgotten_after_five_minutes(): void {
  const tcb = fresh();
  updateMinRtt(tcb, 20 * MILLI, MILLI);
  updateMinRtt(tcb, 30 * MILLI, 2 * MILLI);
  check(tcb.minRttNanos == 20 * MILLI);
  updateMinRtt(tcb, 10 * MILLI, 3 * MILLI);
  check(tcb.minRttNanos == 10 * MILLI);
  updateMinRtt(tcb, 40 * MILLI, 3 * MILLI + MIN_RTT_WINDOW_NANOS);
  check(tcb.minRttNanos == 10 * MILLI);
  updateMinRtt(tcb, 40 * MILLI, 4 * MILLI + MIN_RTT_WINDOW_NANOS);
  check(tcb.minRttNanos == 40 * MILLI);
}

export function test_an_equal_round_trip_renews_the_smallest(): void {
  const tcb = fresh();
  updateMinRtt(tcb, 20 * MILLI, MILLI);
  updateMinRtt(tcb, 20 * MILLI, MIN_RTT_WINDOW_NANOS);
  updateMinRtt(tcb, 30 * MILLI, MIN_RTT_WINDOW_NANOS + 2 * MILLI);
  check(tcb.minRttNanos == 20 * MILLI);
}
