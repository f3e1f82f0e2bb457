import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { findBreaches } from "../../src/build/gate.ts";
import { fromRoot } from "../../src/build/paths.ts";
import { readAbi } from "../../src/build/stack-steps.ts";
import { readModule } from "../../src/build/wasm.ts";
import { assemble, functionImport, leb, name, type Parts, PLAIN_MEMORY } from "./assemble.ts";

const ALLOWED = new Set(["host.fault"]);
const I32 = 0x7f;
const ZERO = [0x41, 0x00];
const DROP = 0x1a;
const END = 0x0b;

interface Bad {
  rule: string;
  parts: Parts;
  expected: RegExp;
}

const BAD: Bad[] = [
  {
    rule: "a mutable global",
    parts: { globals: [[I32, 0x01, ...ZERO, END]] },
    expected: /a mutable global/,
  },
  {
    rule: "global.set",
    parts: { globals: [[I32, 0x01, ...ZERO, END]], code: [...ZERO, 0x24, 0x00] },
    expected: /global\.set/,
  },
  {
    rule: "an active data segment",
    parts: { data: [[0x00, ...ZERO, END, 0x01, 0xaa]] },
    expected: /a data segment/,
  },
  {
    rule: "an element segment",
    parts: { elements: [[0x00, ...ZERO, END, 0x01, 0x00]] },
    expected: /an element segment/,
  },
  { rule: "a start function", parts: { start: 0 }, expected: /a start function/ },
  {
    rule: "memory.grow",
    parts: { code: [...ZERO, 0x40, 0x00, DROP] },
    expected: /memory\.grow/,
  },
  {
    rule: "an atomic load",
    parts: { code: [...ZERO, 0xfe, 0x10, 0x02, 0x00, DROP] },
    expected: /an atomic instruction/,
  },
  {
    rule: "an atomic fence",
    parts: { code: [0xfe, 0x03, 0x00] },
    expected: /an atomic instruction/,
  },
  {
    rule: "a SIMD instruction",
    parts: { code: [0xfd, 0x0c, ...new Array<number>(16).fill(0), DROP] },
    expected: /a SIMD instruction/,
  },
  {
    rule: "an import that host.ts lacks",
    parts: { imports: [functionImport("host", "clock")] },
    expected: /host\.clock/,
  },
  {
    rule: "an allowed name from another module",
    parts: { imports: [functionImport("env", "fault")] },
    expected: /env\.fault/,
  },
  {
    rule: "an imported memory",
    parts: { imports: [[...name("host"), ...name("memory"), 0x02, ...PLAIN_MEMORY]], memories: [] },
    expected: /an import of a memory/,
  },
  {
    rule: "an imported mutable global",
    parts: { imports: [[...name("host"), ...name("now"), 0x03, I32, 0x01]] },
    expected: /a mutable global/,
  },
  { rule: "no memory", parts: { memories: [] }, expected: /0 memories/ },
  {
    rule: "a memory of another size",
    parts: { memories: [[0x01, 0x01, ...leb(4096)]] },
    expected: /not plain with exactly 4096 pages/,
  },
  {
    rule: "a shared memory",
    parts: { memories: [[0x03, ...leb(4096), ...leb(4096)]] },
    expected: /not plain with exactly 4096 pages/,
  },
];

describe("the purity gate", () => {
  it("accepts the product", () => {
    const allowed = new Set(readAbi().imports.map((one) => `host.${one.name}`));
    assert.deepEqual(findBreaches(readFileSync(fromRoot("build/stack.wasm")), allowed), []);
  });

  it("accepts a module that keeps every rule", () => {
    const pure = assemble({ imports: [functionImport("host", "fault")], code: [0x10, 0x00] });
    assert.ok(WebAssembly.validate(pure));
    assert.deepEqual(findBreaches(pure, ALLOWED), []);
  });

  it("is not misled by operands that look like forbidden instructions", () => {
    const code = [0x41, 0xc0, 0x00, DROP, 0x41, 0xfe, 0x00, DROP, 0x42, 0xfd, 0x00, DROP];
    const pure = assemble({ code });
    assert.ok(WebAssembly.validate(pure));
    assert.deepEqual(findBreaches(pure, ALLOWED), []);
  });

  it("finds a forbidden instruction behind nested blocks", () => {
    const code = [0x02, 0x40, 0x03, 0x40, END, END, ...ZERO, 0x40, 0x00, DROP];
    assert.match(findBreaches(assemble({ code }), ALLOWED).join(), /memory\.grow/);
  });

  for (const { rule, parts, expected } of BAD) {
    it(`rejects ${rule}`, () => {
      assert.match(findBreaches(assemble(parts), ALLOWED).join("\n"), expected);
    });
  }

  it("refuses bytes that are no module", () => {
    assert.throws(() => readModule(Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8)), /no module/);
  });

  it("refuses a body that it can't read to its end", () => {
    assert.throws(() => readModule(assemble({ code: [0x27] })), /unknown opcode 0x27/);
  });
});
