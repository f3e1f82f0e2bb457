// The stack's heartbeat: takes what the kernel has for us and gives it frames for more.

import { loadAcquire32 } from "./host";
import { drainQueueRing } from "./link/ingress";
import {
  Queue,
  QueueState,
  Ring,
  reapCompletions,
  isRefillDue,
  receivable,
  refill,
} from "./link/queue";
import { RegionHeader } from "./region/header";
import { tcpPoll } from "./tcp/timeouts";

/** Handles at most `budget` received frames per queue; `now` is CLOCK_MONOTONIC in ns. */
export function pollQueues(now: u64, budget: u32): u32 {
  const header = RegionHeader.get();
  header.pollEpoch += 1;
  let handled: u32 = 0;
  for (let slot: u32 = 0; slot < header.queueHigh; slot++) {
    if (Queue.at(slot).state != QueueState.Running) continue;
    const available = min<u32>(receivable(slot), budget);
    if (available > 0) {
      drainQueueRing(slot, available, now);
      handled += available;
    }
    if (header.blockedSenders != 0) reapCompletions(slot);
    if (isRefillDue(slot)) refill(slot);
  }
  header.blockedSenders = 0;
  tcpPoll(now);
  return handled;
}

/** Non-zero if poll() would find something, timers apart. Called without the lock. */
export function workWaiting(): u32 {
  if (loadAcquire32(changetype<usize>(RegionHeader.get()) + PENDING_HEAD) != 0) return 1;
  if (loadAcquire32(changetype<usize>(RegionHeader.get()) + LOCAL_HEAD) != 0) return 1;
  const high = loadAcquire32(changetype<usize>(RegionHeader.get()) + QUEUE_HIGH);
  for (let slot: u32 = 0; slot < high; slot++) {
    const queue = Queue.at(slot);
    if (loadAcquire32(changetype<usize>(queue) + QUEUE_STATE) != QueueState.Running) continue;
    const rx = Queue.ring(slot, Ring.Rx);
    if (rx.available != 0) return 1;
    if (RegionHeader.get().blockedSenders == 0) continue;
    if (Queue.ring(slot, Ring.Completion).available != 0) return 1;
  }
  return 0;
}

const QUEUE_HIGH: usize = offsetof<RegionHeader>("queueHigh");
const QUEUE_STATE: usize = offsetof<Queue>("state");

const PENDING_HEAD: usize = offsetof<RegionHeader>("pendingHead");
const LOCAL_HEAD: usize = offsetof<RegionHeader>("localHead");

/** When poll() is next due without any packet; all ones: never. */
export function deadline(): u64 {
  return RegionHeader.get().nextTimerNanos;
}
