// What a scenario is, and the networks that scenarios draw from the seed.

import { TcpOption } from "../../../build/gen/layout.ts";
import type { End } from "../end.ts";
import type { LinkOptions } from "../link.ts";
import type { Random } from "../prng.ts";
import type { CableOptions, World } from "../world.ts";

export interface Scenario {
  name: string;
  /** Virtual time after which the programs must be done. */
  limitSeconds?: number;
  /** Events after which they must be done, where the usual number is too small. */
  eventsMax?: number;
  /** Makes hosts and starts programs; everything random comes from world.random. */
  setUp: (world: World) => void;
  /** What must be true when the programs are done. */
  check?: (world: World) => void;
}

export const MICROSECOND = 1e3;
export const MILLISECOND = 1e6;
export const SECOND = 1e9;

/** How bad a network is: probabilities are drawn up to these. */
const WORST = { loss: 0.05, duplicate: 0.05, reorder: 0.1, corrupt: 0.03, cut: 0.3 };
const OPTION_NAMES = ["mss", "scale", "sack", "timestamps"] as const;

/** One direction of a cable, perfect or with any mixture of faults. */
export function randomLink(random: Random): LinkOptions {
  const delayNanos = random.magnitude(5 * MICROSECOND, 100 * MILLISECOND);
  const options: LinkOptions = { delayNanos };
  if (random.chance(0.4)) options.jitterNanos = random.below(delayNanos);
  if (random.chance(0.2)) options.jitterReorders = true;
  if (random.chance(0.6)) {
    options.bitsPerSecond = random.magnitude(2e6, 1e9);
    options.queueBytes = random.magnitude(8_000, 500_000);
  }
  if (random.chance(0.5)) options.loss = random.fraction() * WORST.loss;
  if (random.chance(0.15)) {
    const leave = 0.1 + random.fraction() * 0.5;
    options.burst = { enter: random.fraction() * 0.01, leave, nanosMax: 2 * SECOND };
  }
  if (random.chance(0.3)) options.duplicate = random.fraction() * WORST.duplicate;
  if (random.chance(0.4)) {
    options.reorder = random.fraction() * WORST.reorder;
    options.reorderNanos = random.magnitude(MICROSECOND, 2 * delayNanos);
  }
  if (random.chance(0.3)) options.corrupt = random.fraction() * WORST.corrupt;
  if (random.chance(0.3)) options.cut = random.fraction() * WORST.cut;
  return options;
}

/** A whole cable, and a host at its end that is not always quick. */
export function randomCable(random: Random): CableOptions {
  const isJumbo = random.chance(0.1);
  return {
    up: randomLink(random),
    down: randomLink(random),
    mtu: isJumbo ? 3700 : random.chance(0.8) ? 1500 : random.between(576, 1900),
    staleNanos: random.chance(0.3) ? random.magnitude(MICROSECOND, 4 * MILLISECOND) : 0,
    host: { frameBytes: isJumbo ? 4096 : 2048 },
    pollNanos: random.chance(0.5) ? random.magnitude(MICROSECOND, MILLISECOND) : 0,
    completionNanos: random.chance(0.3) ? random.magnitude(MICROSECOND, MILLISECOND) : 0,
  };
}

/** Two hosts, the second of which is the server. */
export function twoHosts(world: World, random = world.random) {
  if (random.chance(0.3)) world.router.strip.push(...OPTION_NAMES.filter(() => random.chance(0.5)));
  return {
    client: world.addHost("client", randomCable(random)),
    server: world.addHost("server", randomCable(random)),
  };
}

/** Options that change how much is sent when, but never what arrives. */
export function randomOptions(end: End, random: Random): void {
  if (random.chance(0.3)) end.option(TcpOption.NoDelay, 1);
  if (random.chance(0.2)) end.option(TcpOption.QuickAck, random.below(2));
  if (random.chance(0.2)) end.option(TcpOption.Congestion, random.below(2));
  if (random.chance(0.2)) end.option(TcpOption.SendBuffer, random.magnitude(4608, 400_000));
  if (random.chance(0.2)) end.option(TcpOption.ReceiveBuffer, random.magnitude(2304, 400_000));
  if (random.chance(0.1)) end.option(TcpOption.NotSentLowat, random.magnitude(1, 100_000));
}
