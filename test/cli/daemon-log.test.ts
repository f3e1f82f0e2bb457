import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { lastLine, pruneLogs } from "../../src/cli/daemon-log.ts";

const HOUR_SECONDS = 3600;
const NOW_SECONDS = 1_800_000_000;

describe("logs", () => {
  let folder = "";

  before(() => {
    folder = mkdtempSync(join(tmpdir(), "exasock-logs-"));
  });

  after(() => {
    rmSync(folder, { recursive: true });
  });

  it("of network namespaces that are gone are removed after an hour", () => {
    const ages = {
      "default-1.log": 2 * HOUR_SECONDS,
      "default-2.log": 2 * HOUR_SECONDS,
      "my-stack-1.log": HOUR_SECONDS + 1,
      "default-3.log": HOUR_SECONDS - 1,
      "notes.txt": 9 * HOUR_SECONDS,
    };
    for (const [name, age] of Object.entries(ages)) {
      writeFileSync(join(folder, name), "");
      utimesSync(join(folder, name), NOW_SECONDS - age, NOW_SECONDS - age);
    }
    pruneLogs(folder, NOW_SECONDS * 1000, () => new Set(["2"]));
    assert.deepEqual(readdirSync(folder).sort(), ["default-2.log", "default-3.log", "notes.txt"]);
  });

  it("end with the reason why exasockd ended", () => {
    const path = join(folder, "reason.log");
    writeFileSync(path, "earlier start\nexasockd: no room\n");
    assert.equal(lastLine(path, 0), "no room");
    assert.equal(lastLine(path, 14), "no room");
    assert.equal(lastLine(path, 32), "it said nothing");
  });
});
