// Virtual time: events in the order of their time, and of their making where the times are equal.

export interface Event {
  nanos: number;
  order: number;
  /** Undefined once it was cancelled or has happened. */
  action: (() => void) | undefined;
}

export type Clock = ReturnType<typeof createClock>;

function isBefore(a: Event, b: Event): boolean {
  return a.nanos < b.nanos || (a.nanos === b.nanos && a.order < b.order);
}

/** A clock that starts at `start`, in nanoseconds. Whole numbers up to 2^53, which is 104 days. */
export function createClock(start: number) {
  const heap: Event[] = [];
  let now = start;
  let orders = 0;
  let handled = 0;

  function siftUp(from: number): void {
    const event = heap[from] as Event;
    let at = from;
    while (at > 0) {
      const above = (at - 1) >> 1;
      const parent = heap[above] as Event;
      if (!isBefore(event, parent)) break;
      heap[at] = parent;
      at = above;
    }
    heap[at] = event;
  }

  function siftDown(event: Event): void {
    let at = 0;
    for (;;) {
      let below = 2 * at + 1;
      if (below >= heap.length) break;
      const other = heap[below + 1];
      if (other && isBefore(other, heap[below] as Event)) below += 1;
      const child = heap[below] as Event;
      if (!isBefore(child, event)) break;
      heap[at] = child;
      at = below;
    }
    heap[at] = event;
  }

  /** Makes `action` happen at `nanos`, or now if that has passed. */
  function at(nanos: number, action: () => void): Event {
    const event: Event = { nanos: Math.max(Math.ceil(nanos), now), order: orders, action };
    orders += 1;
    heap.push(event);
    siftUp(heap.length - 1);
    return event;
  }

  function takeFirst(): Event | undefined {
    const first = heap[0];
    const last = heap.pop();
    if (last && last !== first) siftDown(last);
    return first;
  }

  /** Lets the next event happen; false when there is none. */
  function step(): boolean {
    for (let event = takeFirst(); event; event = takeFirst()) {
      const { action } = event;
      if (!action) continue;
      event.action = undefined;
      now = event.nanos;
      handled += 1;
      action();
      return true;
    }
    return false;
  }

  return {
    now: () => now,
    at,
    after: (nanos: number, action: () => void) => at(now + nanos, action),
    cancel: (event: Event | undefined) => {
      if (event) event.action = undefined;
    },
    step,
    /** How many events have happened. */
    handled: () => handled,
  };
}
