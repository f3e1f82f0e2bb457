import assert from "node:assert/strict";
import { mkdtempSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { selectSteps } from "../../src/build/all-steps.ts";
import { BuildError } from "../../src/build/errors.ts";
import { runSteps, type Step } from "../../src/build/steps.ts";

describe("build steps", () => {
  let folder = "";
  let runs: string[] = [];
  let input = "";
  let output = "";

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "exasock-steps-"));
    runs = [];
    input = join(folder, "input");
    output = join(folder, "output");
    write(input, "one");
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  /** Writes a file that is older than the build, as files are that nobody edits right now. */
  function write(path: string, text: string): void {
    writeFileSync(path, text);
    utimesSync(path, 1_000_000, 1_000_000);
  }

  function step(name: string, changes: Partial<Step> = {}): Step {
    const base = { name, after: [], inputs: [input], outputs: [output], settings: "" };
    const run = async () => {
      runs.push(name);
      writeFileSync(output, name);
      return [];
    };
    return { ...base, run, ...changes };
  }

  function finish(read: string[]): string[] {
    writeFileSync(output, "done");
    return read;
  }

  async function build(...steps: Step[]): Promise<Record<string, string>> {
    return Object.fromEntries(await runSteps(steps, () => {}, join(folder, "stamps")));
  }

  it("run once and then are up to date", async () => {
    assert.deepEqual(await build(step("a")), { a: "ran" });
    assert.deepEqual(await build(step("a")), { a: "fresh" });
    assert.deepEqual(runs, ["a"]);
  });

  it("run again when the content of an input changes, not for its time alone", async () => {
    await build(step("a"));
    utimesSync(input, 2_000_000, 2_000_000);
    assert.deepEqual(await build(step("a")), { a: "fresh" });
    write(input, "two");
    assert.deepEqual(await build(step("a")), { a: "ran" });
  });

  it("run again when something they found out they read changes", async () => {
    const header = join(folder, "header");
    write(header, "one");
    const reading = () => step("a", { run: async () => finish([header]) });
    await build(reading());
    assert.deepEqual(await build(reading()), { a: "fresh" });
    write(header, "two");
    assert.deepEqual(await build(reading()), { a: "ran" });
  });

  it("run again when the settings change, an input is added, or an output is gone", async () => {
    await build(step("a"));
    assert.deepEqual(await build(step("a", { settings: "-O3" })), { a: "ran" });
    const second = join(folder, "second");
    write(second, "");
    const inputs = [input, second];
    assert.deepEqual(await build(step("a", { settings: "-O3", inputs })), { a: "ran" });
    rmSync(output);
    assert.deepEqual(await build(step("a", { settings: "-O3", inputs })), { a: "ran" });
  });

  it("run again when an input was edited while they ran", async () => {
    const run = async () => {
      writeFileSync(input, "edited");
      return finish([]);
    };
    const edited = () => step("a", { run });
    await build(edited());
    assert.deepEqual(await build(edited()), { a: "ran" });
  });

  it("wait for the steps they name", async () => {
    await build(step("b", { after: ["a"] }), step("a"));
    assert.deepEqual(runs, ["a", "b"]);
  });

  it("are not tried behind a failure, while independent ones are", async () => {
    const failing = step("a", { run: () => Promise.reject(new BuildError("no")) });
    const outcomes = await build(failing, step("b", { after: ["a"] }), step("c"));
    assert.deepEqual(outcomes, { a: "failed", b: "blocked", c: "ran" });
  });

  it("that failed run again next time", async () => {
    await build(step("a", { run: () => Promise.reject(new BuildError("no")) }));
    assert.deepEqual(await build(step("a")), { a: "ran" });
  });

  it("that wait for one another are an error", async () => {
    const circle = build(step("a", { after: ["b"] }), step("b", { after: ["a"] }));
    await assert.rejects(circle, /wait for one another/);
  });

  it("can be picked with what they need", () => {
    const steps = [step("a"), step("b", { after: ["a"] }), step("c")];
    const names = (picked: Step[]) => picked.map((one) => one.name);
    assert.deepEqual(names(selectSteps(steps, ["b"])), ["a", "b"]);
    assert.deepEqual(names(selectSteps(steps, [])), ["a", "b", "c"]);
    assert.throws(() => selectSteps(steps, ["d"]), /no build step d; there are: a b c/);
  });
});
