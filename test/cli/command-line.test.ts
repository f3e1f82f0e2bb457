import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseCommandLine } from "../../src/cli/command-line.ts";
import { AppError } from "../../src/cli/errors.ts";
import { optionName, SETTINGS } from "../../src/cli/settings.ts";

function parse(...args: string[]): [Record<string, string>, string[]] {
  const parsed = parseCommandLine(args);
  assert.ok(parsed);
  const command = args.slice(args.length - parsed.commandCount);
  return [Object.fromEntries(parsed.given), parsed.commandCount === 0 ? [] : command];
}

function complaint(...args: string[]): string {
  try {
    parseCommandLine(args);
  } catch (error) {
    assert.ok(error instanceof AppError && error.code === "usage");
    return error.message;
  }
  return "";
}

describe("the command line of exasock", () => {
  it("gives every setting its option", () => {
    for (const setting of SETTINGS) {
      const value = "accepts" in setting ? "sleep" : "1";
      const option =
        "accepts" in setting ? `${setting.option.split("=")[0]}=${value}` : setting.option;
      assert.deepEqual(parse(option, "nc"), [{ [optionName(setting)]: value }, ["nc"]]);
    }
  });

  it("sets nothing that was not given", () => {
    assert.deepEqual(parse("--debug", "nc"), [{ "--debug": "1" }, ["nc"]]);
  });

  it("ends at the command: what follows is the command's", () => {
    const command = ["nc", "--debug", "-u", "--wait=x", "--", "--help"];
    assert.deepEqual(parse("--no-warn", ...command), [{ "--no-warn": "1" }, command]);
  });

  it("takes a value after '=' or as the next argument", () => {
    assert.deepEqual(parse("--wait=spin", "nc")[0], { "--wait": "spin" });
    assert.deepEqual(parse("--wait", "spin", "nc"), [{ "--wait": "spin" }, ["nc"]]);
  });

  it("lets a command start with '-' after '--'", () => {
    assert.deepEqual(parse("--debug", "--", "-odd", "x"), [{ "--debug": "1" }, ["-odd", "x"]]);
    assert.deepEqual(parse("--", "nc", "--", "x")[1], ["nc", "--", "x"]);
  });

  it("keeps empty arguments", () => {
    assert.deepEqual(parse("--debug", "nc", "", "a b", "")[1], ["nc", "", "a b", ""]);
  });

  it("rejects options that it does not know, and offers one that is near", () => {
    assert.equal(complaint("--turbo-mode", "nc"), "unknown option '--turbo-mode'");
    assert.equal(complaint("--debgu", "nc"), "unknown option '--debgu' (Did you mean --debug?)");
    assert.equal(complaint("-d", "nc"), "unknown option '-d'");
    assert.equal(complaint("--warn", "nc"), "unknown option '--warn' (Did you mean --wait?)");
    assert.equal(complaint("--wait"), "option --wait needs a value");
  });

  it("rejects a value for an option that has none", () => {
    assert.equal(
      complaint("--debug=1", "nc"),
      "unknown option '--debug=1' (Did you mean --debug?)",
    );
  });
});
