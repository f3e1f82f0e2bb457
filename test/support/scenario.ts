// A scenario is a short story of socket calls. It is told twice, first on the plain kernel and then
// with its subject under exasock, and both transcripts must be equal: the kernel is the oracle.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { type Host, Network, type NetworkOptions } from "../../src/lab/network.ts";
import type { Program } from "../../src/lab/program.ts";
import { Calls } from "./calls.ts";
import { accelerated, compileCalls, warmUp } from "./exasock.ts";
import { CallTimeout, Libc } from "./libc.ts";
import { skipWithoutRoot } from "./privilege.ts";
import { assertBypass, assertFramesConserved, type Bypass, trafficCounts } from "./proof.ts";
import { Transcript } from "./transcript.ts";

export interface ScenarioOptions {
  /** What the counters of the left host must show in the accelerated run. */
  bypass?: Bypass;
  /** Options of the launcher, such as --wait=spin. */
  launcher?: readonly string[];
  environment?: Record<string, string>;
}

export interface StartOptions {
  /** left when not given. */
  host?: string;
  /** Runs under exasock when the scenario does. */
  accelerated?: boolean;
  environment?: Record<string, string>;
  limitMillis?: number;
}

type Story = (scene: Scene) => Promise<void>;

/** What a story has at hand. */
export class Scene implements AsyncDisposable {
  readonly transcript = new Transcript();
  readonly surprises: string[] = [];
  readonly left: Host;
  readonly right: Host;
  readonly isAccelerated: boolean;
  readonly #network: Network;
  readonly #calls: string;
  readonly #options: ScenarioOptions;
  readonly #programs: Program[] = [];

  host(name: string): Host {
    return this.#network.host(name);
  }

  /** Writes down what someone saw. */
  note(actor: string, line: string): void {
    this.transcript.add(actor, line);
  }

  constructor(network: Network, isAccelerated: boolean, calls: string, options: ScenarioOptions) {
    this.#network = network;
    this.left = network.host("left");
    this.right = network.host("right");
    this.isAccelerated = isAccelerated;
    this.#calls = calls;
    this.#options = options;
  }

  /** The program under test, on the left host. */
  subject(): Promise<Calls> {
    return this.start("subject", { accelerated: true });
  }

  /** A program that always uses the kernel, on the right host. */
  peer(): Promise<Calls> {
    return this.start("peer", { host: "right" });
  }

  /** Starts any program, which ends with the scene at the latest. */
  launch(command: readonly string[], options: StartOptions = {}): Program {
    const host = this.host(options.host ?? "left");
    const under = options.accelerated && this.isAccelerated;
    const full = under
      ? accelerated(command, [...launcherOptions, ...(this.#options.launcher ?? [])])
      : command;
    const environment = { ...this.#options.environment, ...options.environment };
    const { limitMillis } = options;
    const program = host.start(full, limitMillis ? { environment, limitMillis } : { environment });
    this.#programs.push(program);
    return program;
  }

  /** Starts another program that makes the calls it is told to. */
  async start(actor: string, options: StartOptions = {}): Promise<Calls> {
    const libc = new Libc(this.launch([this.#calls], options));
    await libc.ready();
    return new Calls({
      libc,
      transcript: this.transcript,
      actor,
      caller: (name, args) => libc.call(name, args),
      expected: "",
      told: true,
      surprised: (message) => this.surprises.push(`${actor}: ${message}`),
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const program of this.#programs) await program[Symbol.asyncDispose]();
  }
}

interface Stage {
  kernel: Network;
  exasock: Network;
  calls: string;
}

/** For writing scenarios: shows what the kernel does and leaves exasock out. */
const isOracleOnly = process.env.EXASOCK_ORACLE_ONLY !== undefined;

let stage: Promise<Stage> | null = null;
let networkOptions: NetworkOptions = {};
let launcherOptions: readonly string[] = [];

/** Another network than two hosts and a cable, and how to launch, for all scenarios of a file. */
export function useNetwork(options: NetworkOptions, launcher: readonly string[] = []): void {
  networkOptions = options;
  launcherOptions = launcher;
}

/** Two networks, so that the oracle's has never seen exasock. */
async function openStage(): Promise<Stage> {
  const calls = await compileCalls();
  const [kernel, exasock] = [
    await Network.create(networkOptions),
    await Network.create(networkOptions),
  ];
  if (!isOracleOnly) {
    await warmUp(exasock.host("left"), exasock.host("right"), launcherOptions);
  }
  return { kernel, exasock, calls };
}

after(async () => {
  if (!stage) return;
  const { kernel, exasock } = await stage;
  await kernel[Symbol.asyncDispose]();
  try {
    if (!isOracleOnly) await assertFramesConserved(exasock.host("left"));
  } finally {
    await exasock[Symbol.asyncDispose]();
  }
});

async function tell(story: Story, scene: Scene): Promise<string> {
  try {
    await story(scene);
  } catch (error) {
    // The transcript says which call is stuck.
    if (!(error instanceof CallTimeout) || !scene.isAccelerated) {
      throw new Error(`after\n${scene.transcript.text()}`, { cause: error });
    }
  }
  return scene.transcript.text();
}

/** Declares a test: the story, told on the kernel and under exasock, must read the same. */
export function scenario(name: string, story: Story, options: ScenarioOptions = {}): void {
  test(name, { skip: skipWithoutRoot }, async () => {
    stage ??= openStage();
    const { kernel, exasock, calls } = await stage;
    await using oracle = new Scene(kernel, false, calls, options);
    const expected = await tell(story, oracle);
    if (process.env.EXASOCK_SHOW_TRANSCRIPTS) process.stderr.write(`--- ${name}\n${expected}`);
    assert.deepEqual(oracle.surprises, [], `the kernel itself behaves otherwise:\n${expected}`);
    if (isOracleOnly) return;

    await using scene = new Scene(exasock, true, calls, options);
    const before = await trafficCounts(scene.left);
    const actual = await tell(story, scene);
    assert.equal(actual, expected, "exasock (actual) differs from the kernel (expected)");
    if (options.bypass) assertBypass(before, await trafficCounts(scene.left), options.bypass);
  });
}
