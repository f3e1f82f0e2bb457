import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { ROOT } from "./compile.ts";
import { skipWithoutRoot } from "./privilege.ts";

function testFiles(): string[] {
  const names = readdirSync(join(ROOT, "test"), { recursive: true, encoding: "utf8" });
  return names.filter((name) => name.endsWith(".test.ts")).map((name) => join(ROOT, "test", name));
}

test("as root no test is skipped for want of privileges", () => {
  if (process.getuid?.() === 0) assert.equal(skipWithoutRoot, false);
  else assert.match(String(skipWithoutRoot), /root/);
});

test("the want of root is the only reason to skip a test", () => {
  // As an option; marks such as .only( and .skip( are found by tidy.test.ts.
  const reason = /\bskip: (?!skipWithoutRoot\b|isRoot \? false : )/;
  for (const file of testFiles()) {
    const lines = readFileSync(file, "utf8").split("\n");
    assert.deepEqual(
      lines.filter((line) => reason.test(line)),
      [],
      file,
    );
  }
});
