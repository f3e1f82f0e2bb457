import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { generatedPages } from "../../src/build/docs.ts";
import { fromRoot } from "../../src/build/paths.ts";

describe("the generated documentation", () => {
  for (const [path, text] of generatedPages()) {
    it(`${path} says what the sources say (npm run docs writes it)`, () => {
      assert.ok(existsSync(fromRoot(path)), `${path} is missing`);
      assert.ok(readFileSync(fromRoot(path), "utf8") === text, `${path} is out of date`);
    });
  }
});
