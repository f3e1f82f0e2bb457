// The SACK blocks that go with our acknowledgments: RFC 2018 4, the newest first, and the block
// that reports what came twice, RFC 2883.

import { seqAfter, seqBefore, seqBeforeEq } from "../base/seq";
import { Tcb } from "./tcb";

const MAX_BLOCKS: u32 = 4;

function blockAt(tcb: Tcb, n: u32): usize {
  return changetype<usize>(tcb) + offsetof<Tcb>("sackStart0") + <usize>(n << 3);
}

function removeBlock(tcb: Tcb, n: u32): void {
  const count = <u32>tcb.sackBlocks;
  for (let at = n + 1; at < count; at++) {
    store<u64>(blockAt(tcb, at - 1), load<u64>(blockAt(tcb, at)));
  }
  tcb.sackBlocks = <u8>(count - 1);
}

/** A segment was kept that is not in sequence: its block comes first, joined with its neighbours. */
export function noteOutOfOrder(tcb: Tcb, start: u32, end: u32): void {
  let from = start;
  let to = end;
  for (let n: u32 = 0; n < <u32>tcb.sackBlocks; ) {
    const at = blockAt(tcb, n);
    const blockStart = load<u32>(at);
    const blockEnd = load<u32>(at, 4);
    if (seqAfter(blockStart, to) || seqBefore(blockEnd, from)) {
      n += 1;
      continue;
    }
    if (seqBefore(blockStart, from)) from = blockStart;
    if (seqAfter(blockEnd, to)) to = blockEnd;
    removeBlock(tcb, n);
  }
  const kept = min<u32>(<u32>tcb.sackBlocks, MAX_BLOCKS - 1);
  for (let n = kept; n > 0; n--) store<u64>(blockAt(tcb, n), load<u64>(blockAt(tcb, n - 1)));
  store<u32>(blockAt(tcb, 0), from);
  store<u32>(blockAt(tcb, 0), to, 4);
  tcb.sackBlocks = <u8>(kept + 1);
}

/** What is in sequence now needs no block. */
export function forgetSackBelow(tcb: Tcb, seq: u32): void {
  for (let n: u32 = 0; n < <u32>tcb.sackBlocks; ) {
    if (seqBeforeEq(load<u32>(blockAt(tcb, n), 4), seq)) removeBlock(tcb, n);
    else n += 1;
  }
}

/** These sequence numbers came twice: the next acknowledgment says so. */
export function noteDuplicate(tcb: Tcb, start: u32, end: u32): void {
  if (!seqAfter(end, start)) return;
  tcb.dsackStart = start;
  tcb.dsackEnd = end;
  tcb.hasDsack = 1;
}
