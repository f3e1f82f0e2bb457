// Every packet script, on the module that ships: as it stands, with the peer's data split at every
// byte, and with it arriving twice. UPDATE=1 prints what happens instead.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { checkScript, recordScript } from "../../src/script/report.ts";
import { allScripts, makeStack } from "../support/packet-scripts.ts";

describe("TCP packet scripts", () => {
  for (const fence of allScripts()) {
    it(fence.name, () => {
      const report = checkScript(fence, makeStack);
      if (report === undefined) return;
      const actual = process.env.UPDATE === "1" ? `\n\n${recordScript(fence, makeStack)}\n` : "";
      assert.fail(`${report}${actual}`);
    });
  }
});
