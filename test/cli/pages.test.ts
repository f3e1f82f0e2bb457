// The pages for users say what the code does, as far as that can be compared by a machine.

import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { MAX_CLIENTS, MAX_QUEUES, MAX_SOCKETS } from "../../build/gen/layout.ts";
import { KERNEL_MIN } from "../../src/cli/doctor.ts";
import { LIBRARY_FOLDER_VARIABLE, SETTINGS } from "../../src/cli/settings.ts";
import { commandLineOptions, IDLE_SECONDS_DEFAULT, largestMtu } from "../../src/daemon/options.ts";

const page = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), "utf8");

/** The rows of all tables. */
function rowsOf(text: string): string[] {
  return text.split("\n").filter((line) => line.startsWith("| "));
}

describe("docs/cli.md and docs/environment.md", () => {
  it("list every option and variable of exasock", () => {
    const cli = rowsOf(page("docs/cli.md"));
    const environment = rowsOf(page("docs/environment.md"));
    for (const { option, variable } of SETTINGS) {
      const shown = option.replaceAll("|", "\\|");
      assert.ok(
        cli.some((row) => row.startsWith(`| \`${shown}\` |`)),
        option,
      );
      const name = option.replace(/=.*/, "");
      const start = `| \`${variable}\` | \`${name}\` |`;
      assert.ok(
        environment.some((row) => row.startsWith(start)),
        variable,
      );
    }
    assert.ok(environment.some((row) => row.startsWith(`| \`${LIBRARY_FOLDER_VARIABLE}\` |`)));
  });

  it("know no variable that the code does not know", () => {
    const code = ["src/cli/settings.ts", "src/cli/launch-state.ts"].map(page).join("");
    for (const [name] of page("docs/environment.md").matchAll(/EXASOCK_\w+/g)) {
      assert.ok(code.includes(`"${name}"`), name);
    }
  });

  it("list every option of exasockd", () => {
    const rows = rowsOf(page("docs/cli.md"));
    for (const { flags } of commandLineOptions()) {
      assert.ok(
        rows.some((row) => row.startsWith(`| \`${flags}\` |`)),
        flags,
      );
    }
    const [idle] = rows.filter((row) => row.startsWith("| `--idle-seconds"));
    assert.ok(idle?.endsWith(`| ${IDLE_SECONDS_DEFAULT} |`));
  });
});

describe("docs/udp.md", () => {
  const table = page("native/shim/socket.c").match(/ options\[\] = \{(.*?)\n\};/s)?.[1] ?? "";
  const options = [...table.matchAll(/\{\w+, (\w+), (\w+),/g)].map(([, name, action]) => ({
    name: name ?? "",
    isKernel: action?.startsWith("KERNEL") ?? false,
  }));

  it("says of each option whether the stack follows it or hands the socket over", () => {
    const rows = rowsOf(page("docs/udp.md"));
    const follows = rows.find((row) => row.includes("the stack follows")) ?? "";
    const hands = rows.find((row) => row.includes("handed to the kernel for good")) ?? "";
    assert.ok(options.length > 30);
    const kin = /^SO_ATTACH_(BPF|REUSEPORT)/;
    for (const { name, isKernel } of options) {
      const text = kin.test(name) ? "SO_ATTACH_FILTER and its kin" : name;
      const found = name === "SO_TIMESTAMPNS" ? "SO_TIMESTAMP(NS)" : text;
      assert.match(isKernel ? hands : follows, new RegExp(`\\b${found.replace(/[()]/g, "\\$&")}`));
    }
  });
});

describe("limits in pages", () => {
  it("are those of the code", () => {
    const ip = page("docs/ip.md");
    assert.ok(
      ip.includes(`MTU | what a frame holds: ${largestMtu(2048)} bytes with frames of 2048`),
    );
    assert.ok(ip.includes(`${largestMtu(4096)} with frames of 4096`));
    assert.ok(ip.includes(`all of an interface; ${MAX_QUEUES} together`));
    const readme = page("README.md");
    assert.ok(readme.includes(`An MTU of up to ${largestMtu(4096)} bytes`));
    assert.ok(readme.includes(`Linux ${KERNEL_MIN.join(".")} or later`));
    const limits = `${MAX_SOCKETS - 1} sockets, ${MAX_CLIENTS - 1} programs, ${MAX_QUEUES} queues`;
    assert.ok(page("docs/failures.md").includes(limits));
  });
});

describe("README.md", () => {
  it("names commands that exist", () => {
    const { scripts } = JSON.parse(page("package.json")) as { scripts: Record<string, string> };
    for (const [, name] of page("README.md").matchAll(/\bnpm (?:run )?(\w+)/g)) {
      if (name !== "and") assert.ok(name && name in scripts, name);
    }
    for (const [, name] of page("README.md").matchAll(/\b(bin\/\w+)/g)) {
      assert.ok(name && existsSync(new URL(`../../${name}`, import.meta.url)), name);
    }
  });
});
