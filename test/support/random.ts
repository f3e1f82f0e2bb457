// A small generator of pseudo-random numbers, so that a test can be told again from its seed.

/** Marsaglia's xorshift on 32 bits. */
export class Random {
  #state: number;

  constructor(seed: number) {
    // An odd factor: no two seeds begin alike.
    this.#state = Math.imul(seed + 1, 0x9e3779b1) || 1;
    for (let n = 0; n < 8; n++) this.next();
  }

  next(): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return x >>> 0;
  }

  /** 0 and up, below `limit`. */
  below(limit: number): number {
    return this.next() % limit;
  }

  pick<T>(all: readonly T[]): T | undefined {
    return all.length === 0 ? undefined : all[this.below(all.length)];
  }
}
