// Sequence numbers and the keyed hash.

import { seqAfter, seqAfterEq, seqBefore, seqBeforeEq, seqMin } from "../base/seq";
import { sipHash2, sipHash3 } from "../base/siphash";
import { check, scramble, setSecret } from "./check";

const TURNS: u32 = 10000;

export function test_sequence_numbers_are_ordered_across_the_wrap(): void {
  check(seqBefore(0xfffffff0, 16) && !seqBefore(16, 0xfffffff0));
  check(seqAfter(16, 0xfffffff0) && !seqAfter(0xfffffff0, 16));
  check(!seqBefore(7, 7) && !seqAfter(7, 7) && seqBeforeEq(7, 7) && seqAfterEq(7, 7));
  check(seqMin(0xffffffff, 0) == 0xffffffff);
}

export function test_sequence_order_depends_on_the_distance_only(): void {
  let from: u32 = 1;
  let distance: u32 = 2;
  for (let turn: u32 = 0; turn < TURNS; turn++) {
    from = scramble(from);
    distance = scramble(distance);
    const ahead = (distance & 0x7fffffff) | 1;
    const to = from + ahead;
    check(seqBefore(from, to) && seqBeforeEq(from, to) && seqAfter(to, from));
    check(!seqBefore(to, from) && !seqAfterEq(from, to) && seqAfterEq(to, from));
    check(seqMin(from, to) == from && seqMin(to, from) == from);
  }
}

export function test_siphash_gives_the_published_results(): void {
  setSecret();
  const first: u64 = 0x0706050403020100;
  const second: u64 = 0x0f0e0d0c0b0a0908;
  const third: u64 = 0x1716151413121110;
  check(sipHash2(first, second) == 0x3f2acc7f57c29bdb);
  check(sipHash3(first, second, third) == 0xb8ad50c6f649af94);
}
