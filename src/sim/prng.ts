// Random numbers that depend on the seed alone: xoshiro128** (Blackman and Vigna), and streams of
// it by name, so that one more number drawn in one place changes nothing in another.

export type Random = ReturnType<typeof createRandom>;

/** A well-mixed word from two (the finaliser of MurmurHash3). */
export function mix32(a: number, b: number): number {
  let h = (a ^ Math.imul(b, 0x9e3779b1)) >>> 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

function hashText(seed: number, text: string): number {
  let h = seed >>> 0;
  for (let at = 0; at < text.length; at++) h = mix32(h, text.charCodeAt(at) + 1);
  return h;
}

const rotl = (x: number, bits: number) => (x << bits) | (x >>> (32 - bits));

/** The stream called `name` of a seed (32 bits). */
export function createRandom(seed: number, name = "") {
  const start = hashText(mix32(seed, 0x5eed), name);
  let [s0, s1, s2, s3] = [1, 2, 3, 4].map((n) => mix32(start, n)) as [
    number,
    number,
    number,
    number,
  ];

  /** 32 random bits. */
  function next(): number {
    const result = Math.imul(rotl(Math.imul(s1, 5), 7), 9) >>> 0;
    const t = s1 << 9;
    s2 ^= s0;
    s3 ^= s1;
    s1 ^= s2;
    s0 ^= s3;
    s2 ^= t;
    s3 = rotl(s3, 11);
    return result;
  }

  /** From 0 up to, not including, 1. */
  const fraction = () => next() / 0x1_0000_0000;
  /** A whole number from 0 up to, not including, `limit`. */
  const below = (limit: number) => Math.floor(fraction() * limit);
  /** A whole number from `low` to `high`. */
  const between = (low: number, high: number) => low + below(high - low + 1);

  return {
    next,
    fraction,
    below,
    between,
    /** True with this probability. None is drawn for 0. */
    chance: (probability: number) => probability > 0 && fraction() < probability,
    pick: <T>(from: readonly T[]): T => from[below(from.length)] as T,
    /** Spread evenly over orders of magnitude: small ones as often as large ones. */
    magnitude: (low: number, high: number) =>
      Math.round(low * Math.exp(fraction() * Math.log(high / low))),
    word64: () => (BigInt(next()) << 32n) | BigInt(next()),
    /** Another stream, which depends on this one's seed and name. */
    stream: (child: string) => createRandom(seed, `${name}/${child}`),
  };
}
