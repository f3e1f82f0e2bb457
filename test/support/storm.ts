// The storm of test/resilience/storm.c on a host, and what has to be true of its reports.

import assert from "node:assert/strict";
import { CLIENTS_OFFSET, LOCK_OFFSET } from "../../build/gen/layout.ts";
import type { Host, Network } from "../../src/lab/network.ts";
import { until } from "../../src/lab/program.ts";
import { compileProgram } from "./compile.ts";
import { startAccelerated, status, warmUp } from "./exasock.ts";
import { killDaemon } from "./outage.ts";
import { assertSound, frameBalance } from "./proof.ts";

export interface StormOptions {
  readonly wait: string;
  readonly workers: number;
  readonly kills: number;
  readonly seed: number;
  /** Mean time between two kills. */
  readonly pauseMicros: number;
  /** After so many kills exasockd is killed, too, and another one started; 0 never. */
  readonly daemonEvery: number;
  readonly limitMillis: number;
}

/** Kills between two looks at the region. */
const KILLS_PER_LOOK = 100;
const KILLS_PER_STEP_LOOK = 10;
const PEER = "-1";

export interface StormResult {
  readonly kills: number;
  readonly mebibytes: number;
  readonly daemons: number;
  readonly looks: number;
  readonly recoveries: number;
}

function lines(text: string, word: string): string[][] {
  const all = text.split("\n").map((line) => line.split(" "));
  return all.filter(([first]) => first === word);
}

/** Fails unless every connection that ended had an end that was killed. */
function judge(mother: string, peer: string): void {
  const wrong = `${mother}\n${peer}`.split("\n").filter((line) => line.startsWith("wrong"));
  assert.deepEqual(wrong, []);
  const killed = new Set(lines(mother, "killed").map(([, slot, life]) => `${slot}/${life}`));
  const lost = lines(peer, "ended").map(([, slot, life]) => `${slot}/${life}`);
  assert.deepEqual(
    lost.filter((one) => !killed.has(one)),
    [],
    "the peer lost a living worker",
  );
  // Whoever tells is alive, and so is the other unless it was killed. One that is not known had not
  // spoken yet: its listener was killed.
  const hurt = lines(mother, "hurt").filter(([, , , partner, life]) => {
    return partner === PEER || (partner !== "-2" && !killed.has(`${partner}/${life}`));
  });
  assert.deepEqual(hurt, [], "a connection between the living ended");
}

/** Nothing but the mother is left, and everything that was used is free again. */
async function assertNothingLeft(host: Host): Promise<void> {
  let left = "";
  const isClean = async () => {
    const now = await status(host);
    assert.ok(now);
    // What was sent is taken back when there is need: frames with the kernel are not lost.
    const { queued, kept, missing } = frameBalance(now);
    const busy = queued + kept;
    const living = now.sockets.filter((one) => one.state !== "timewait" && one.pid === 0);
    left = JSON.stringify({ busy, missing, sockets: living, programs: now.programs });
    return busy === 0 && missing === 0 && living.length === 0 && now.programs.length <= 1;
  };
  await until("everything to be given back", isClean, 30_000).catch((error: Error) => {
    assert.fail(`${error.message}: ${left}`);
  });
  await assertSound(host);
}

/** A storm.c of this kind on the left host, and its peer on the right one. */
async function start(network: Network, limitMillis: number) {
  const [left, right] = [network.host("left"), network.host("right")];
  const file = await compileProgram("test/resilience/storm.c", ["-D_GNU_SOURCE"]);
  const peer = right.start([file, "peer", right.address], { limitMillis });
  await peer.waitForOutput(/ports \d+ \d+\n/);
  const [, tcp = "", udp = ""] = /ports (\d+) (\d+)/.exec(peer.stdout) ?? [];
  await warmUp(left, right);
  return { left, right, file, peer, places: [left.address, right.address, tcp, udp] };
}

export async function storm(network: Network, options: StormOptions): Promise<StormResult> {
  const { limitMillis, workers, kills, seed, pauseMicros, daemonEvery } = options;
  const { left, right, file, places, ...started } = await start(network, limitMillis);
  await using peer = started.peer;
  const numbers = [workers, kills, seed, pauseMicros].map(String);
  const command = [file, "mother", ...places, ...numbers];
  await using mother = startAccelerated(left, command, {
    options: [`--wait=${options.wait}`],
    limitMillis,
  });
  let looks = 0;
  let daemons = 0;
  let lookAt = KILLS_PER_LOOK;
  let daemonAt = daemonEvery === 0 ? Number.POSITIVE_INFINITY : daemonEvery;
  const count = () => lines(mother.stdout, "killed").length;
  await until(
    "the storm to be over",
    async () => {
      assert.equal(mother.exit, null, mother.stderr);
      if (count() >= daemonAt) {
        daemonAt += daemonEvery;
        daemons++;
        await killDaemon(left);
        await warmUp(left, right);
      }
      if (count() >= lookAt) {
        lookAt += KILLS_PER_LOOK;
        looks++;
        await assertSound(left);
        judge(mother.stdout, peer.stdout);
      }
      return mother.stdout.includes("done");
    },
    limitMillis,
  );
  await assertNothingLeft(left);
  judge(mother.stdout, peer.stdout);
  const counters = (await status(left))?.counters;
  mother.endInput();
  await mother.waitForSuccess();
  return {
    kills: count(),
    mebibytes: Number(/done, (\d+) MiB/.exec(mother.stdout)?.[1]),
    daemons,
    looks,
    recoveries: counters?.recoveries ?? 0,
  };
}

export interface StepOptions {
  readonly kills: number;
  readonly seed: number;
  /** Instructions under the lock after which the first victim is killed, and more for each next. */
  readonly first: number;
  readonly stride: number;
  readonly limitMillis: number;
}

/** Kills that many victims at given instructions under the lock; how many, and recoveries. */
export async function stepThrough(network: Network, options: StepOptions) {
  const { kills, seed, first, stride, limitMillis } = options;
  const { left, file, places, ...started } = await start(network, limitMillis);
  await using peer = started.peer;
  const numbers = [kills, seed, first, stride, LOCK_OFFSET, CLIENTS_OFFSET].map(String);
  const command = [file, "stepper", ...places, ...numbers];
  await using mother = startAccelerated(left, command, { options: ["--wait=sleep"], limitMillis });
  let looked = 0;
  const isOver = async () => {
    assert.equal(mother.exit, null, mother.stderr);
    const count = lines(mother.stdout, "stepped").length;
    if (count - looked >= KILLS_PER_STEP_LOOK) {
      looked = count;
      await assertSound(left);
      judge(mother.stdout, peer.stdout);
    }
    return mother.stdout.includes("done");
  };
  await until("the last step", isOver, limitMillis);
  await assertNothingLeft(left);
  judge(mother.stdout, peer.stdout);
  const { recoveries = 0 } = (await status(left))?.counters ?? {};
  mother.endInput();
  await mother.waitForSuccess();
  const reached = lines(mother.stdout, "stepped").filter(([, held, , wanted]) => held === wanted);
  return { kills: reached.length, recoveries };
}
