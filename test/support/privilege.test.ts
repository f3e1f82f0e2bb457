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

test("no test is skipped for any other reason", () => {
  const marks = /\bskip\b(?!WithoutRoot)|\.todo\b|\btodo:/;
  for (const file of testFiles()) {
    const lines = readFileSync(file, "utf8").split("\n");
    const code = lines.filter((line) => !/^\s*(\/\/|\*)/.test(line) && !/\btest\(/.test(line));
    const skips = code.filter((line) => marks.test(line.replace("skip: skipWithoutRoot", "")));
    assert.deepEqual(skips, [], file);
  }
});
