import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { AppError } from "../../src/cli/errors.ts";
import {
  applySettings,
  type Environment,
  isInterfaceName,
  parseInterface,
  isStackName,
  SETTINGS,
} from "../../src/cli/settings.ts";

function apply(variables: Record<string, string>, given: Record<string, string> = {}): Environment {
  const environment = new Map(Object.entries(variables));
  applySettings(environment, new Map(Object.entries(given)));
  return environment;
}

function complaint(variables: Record<string, string>, given: Record<string, string> = {}): string {
  try {
    apply(variables, given);
  } catch (error) {
    assert.ok(error instanceof AppError && error.code === "setting" && error.exitStatus === 1);
    return error.message;
  }
  return "";
}

describe("settings", () => {
  it("reach the program as environment variables", () => {
    const given = { "--debug": "1", "--wait": "spin", "--interfaces": "eth0,eth1" };
    assert.deepEqual(Object.fromEntries(apply({ HOME: "/" }, given)), {
      HOME: "/",
      EXASOCK_DEBUG: "1",
      EXASOCK_WAIT: "spin",
      EXASOCK_INTERFACES: "eth0,eth1",
    });
  });

  it("of the command line win over those of the environment", () => {
    assert.equal(
      apply({ EXASOCK_WAIT: "sleep" }, { "--wait": "spin" }).get("EXASOCK_WAIT"),
      "spin",
    );
    assert.equal(complaint({ EXASOCK_WAIT: "nonsense" }, { "--wait": "spin" }), "");
  });

  it("with a value that is not known are errors, wherever they come from", () => {
    assert.equal(
      complaint({ EXASOCK_WAIT: "fast" }),
      'EXASOCK_WAIT must be spin, adaptive or sleep, not "fast"',
    );
    assert.equal(
      complaint({}, { "--wait": "" }),
      'option --wait must be spin, adaptive or sleep, not ""',
    );
    assert.equal(
      complaint({ EXASOCK_STACK: "a/b" }),
      "EXASOCK_STACK must be at most 32 letters, digits, '.', '_' or '-', not \"a/b\"",
    );
    assert.equal(
      complaint({}, { "--interfaces": "eth0,,eth1" }),
      "option --interfaces must be interfaces (eth0, eth0:2-3) with ',', not \"eth0,,eth1\"",
    );
  });

  it("that are on or off count as on whatever their value, as in ExaNIC Sockets", () => {
    for (const value of ["1", "0", "", "no"]) {
      assert.equal(apply({ EXASOCK_DEBUG: value }).get("EXASOCK_DEBUG"), value);
    }
  });

  it("let EXASOCK_REQUIRE be switched off by 0", () => {
    assert.equal(apply({ EXASOCK_REQUIRE: "0" }).has("EXASOCK_REQUIRE"), false);
    assert.equal(
      apply({ EXASOCK_REQUIRE: "0" }, { "--require": "1" }).has("EXASOCK_REQUIRE"),
      true,
    );
    assert.equal(apply({ EXASOCK_REQUIRE: "1" }).has("EXASOCK_REQUIRE"), true);
  });

  it("have a variable each", () => {
    assert.equal(new Set(SETTINGS.map(({ variable }) => variable)).size, SETTINGS.length);
  });
});

describe("an interface that a stack is to use", () => {
  it("has a name, and maybe queues", () => {
    assert.deepEqual(parseInterface("eth0"), { name: "eth0", queues: undefined });
    assert.deepEqual(parseInterface("eth0:3"), { name: "eth0", queues: { first: 3, last: 3 } });
    assert.deepEqual(parseInterface("eth0:2-63"), { name: "eth0", queues: { first: 2, last: 63 } });
  });

  it("is nothing else", () => {
    for (const text of ["", ":1", "eth0:", "eth0:3-2", "eth0:64", "eth0:1-", "eth0:-1", "a b:1"]) {
      assert.equal(parseInterface(text), undefined, text);
    }
  });
});

describe("names of interfaces", () => {
  it("are those that the kernel accepts", () => {
    for (const name of ["eth0", "enp0s31f6", "veth-left.100", "wlan0@x", "ü"]) {
      assert.ok(isInterfaceName(name), name);
    }
    for (const name of ["", ".", "..", "a b", "a/b", "a:1", "sixteen-letters-", "a\tb"]) {
      assert.ok(!isInterfaceName(name), name);
    }
  });
});

describe("names of stacks", () => {
  it("fit a socket address and a file name", () => {
    for (const name of ["default", "a", "A.b_c-9", "x".repeat(32)]) assert.ok(isStackName(name));
    for (const name of ["", ".a", "-a", "a b", "a/b", "x".repeat(33), "ä", "a\n"]) {
      assert.ok(!isStackName(name), name);
    }
  });

  it("never hold anything but the letters allowed", () => {
    fc.assert(fc.property(fc.string(), (s) => !isStackName(s) || /^[\w.-]{1,32}$/.test(s)));
  });
});
