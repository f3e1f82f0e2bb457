import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import * as layout from "../../build/gen/layout.ts";
import { type Abi, sizeOf } from "../../src/build/model.ts";
import { fromRoot } from "../../src/build/paths.ts";
import { readAbi } from "../../src/build/stack-steps.ts";

/** Prints what the C compiler makes of the header, in the form of `expectedLines`. */
function probe(abi: Abi): string {
  const prints = abi.structs.flatMap(({ name, fields }) => [
    `  printf("${name} %zu\\n", sizeof(struct ${name}));`,
    ...fields.map((field) => {
      const place = `offsetof(struct ${name}, ${field.name})`;
      const size = `sizeof(((struct ${name} *)0)->${field.name})`;
      return `  printf("${name}.${field.name} %zu %zu\\n", ${place}, ${size});`;
    }),
  ]);
  const constants = abi.constants.map(({ name, type }) => {
    const [format, wide] = type.startsWith("u")
      ? ["%llu", "unsigned long long"]
      : ["%lld", "long long"];
    return `  printf("${name} ${format}\\n", (${wide})${name});`;
  });
  const enums = abi.enums.flatMap(({ name, members }) =>
    members.map((one) => `  printf("${name}.${one.name} %d\\n", ${name}_${one.name});`),
  );
  const head = ["#include <stdio.h>", '#include "layout.h"', "int main(void) {"];
  return [...head, ...prints, ...constants, ...enums, "  return 0;", "}", ""].join("\n");
}

function expectedLines(abi: Abi): string[] {
  return [
    ...abi.structs.flatMap(({ name, strideBytes, fields }) => [
      `${name} ${strideBytes}`,
      ...fields.map((one) => `${name}.${one.name} ${one.offset} ${sizeOf(one.type)}`),
    ]),
    ...abi.constants.map(({ name, value }) => `${name} ${value}`),
    ...abi.enums.flatMap(({ name, members }) =>
      members.map((one) => `${name}.${one.name} ${one.value}`),
    ),
  ];
}

describe("the generated layout", () => {
  const abi = readAbi();
  let folder = "";

  before(() => {
    folder = mkdtempSync(join(tmpdir(), "exasock-layout-"));
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  it("means the same to the C compiler as to AssemblyScript", () => {
    const source = join(folder, "probe.c");
    const program = join(folder, "probe");
    writeFileSync(source, probe(abi));
    const flags = ["-Wall", "-Wextra", "-Werror", "-std=c11", `-I${fromRoot("build/gen")}`];
    execFileSync("clang", [...flags, source, "-o", program]);
    const lines = execFileSync(program, { encoding: "utf8" }).trimEnd().split("\n");
    assert.deepEqual(lines, expectedLines(abi));
  });

  it("means the same to a BPF program", () => {
    const source = join(folder, "probe.bpf.c");
    writeFileSync(source, '#include "layout.h"\n');
    const flags = ["-target", "bpf", "-Wall", "-Werror", `-I${fromRoot("build/gen")}`];
    execFileSync("clang", [...flags, "-c", source, "-o", join(folder, "probe.bpf.o")]);
  });

  it("gives TypeScript every constant and enumeration", () => {
    const exported = layout as unknown as Record<string, unknown>;
    for (const { name, value } of abi.constants) {
      assert.equal(BigInt(exported[name] as bigint), value, name);
    }
    for (const { name, members } of abi.enums) {
      const values = Object.entries(exported[name] as Record<string, number>);
      assert.deepEqual(
        values,
        members.map((one) => [one.name, Number(one.value)]),
      );
    }
  });

  it("gives TypeScript views that write each field in its place and nothing else", () => {
    const views = layout as unknown as Record<string, ViewClass>;
    for (const { name, fields, strideBytes } of abi.structs) {
      const View = views[`${name}View`];
      assert.ok(View, name);
      assert.equal(View.BYTES, strideBytes);
      for (const { name: field, offset, type } of fields) {
        const bytes = new Uint8Array(strideBytes + 16);
        const view = new View(new DataView(bytes.buffer), 8);
        const size = sizeOf(type);
        view[field] = size === 8 ? 0x1122334455667788n : 0x11223344 & (2 ** (size * 8 - 1) - 1);
        const touched = [...bytes.keys()].filter((at) => bytes[at] !== 0);
        const own = Array.from({ length: size }, (_, index) => 8 + offset + index);
        assert.deepEqual(touched, own, `${name}.${field}`);
      }
    }
  });

  it("keeps structures of one array apart and aligned", () => {
    for (const { name, endBytes, strideBytes, alignBytes, fields } of abi.structs) {
      assert.ok(strideBytes >= endBytes && strideBytes % alignBytes === 0, name);
      for (const { name: field, offset, type } of fields) {
        assert.equal(offset % sizeOf(type), 0, `${name}.${field} is not aligned`);
      }
    }
  });
});

type ViewClass = {
  new (view: DataView, at: number): Record<string, number | bigint>;
  readonly BYTES: number;
};
