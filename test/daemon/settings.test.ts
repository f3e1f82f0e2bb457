import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { chooseInterface, isVirtual } from "../../src/daemon/interface-choice.ts";
import { formatLine } from "../../src/daemon/log.ts";
import { ARPHRD_ETHER, IFF_UP, type Link } from "../../src/daemon/netlink/route.ts";
import {
  checkOptions,
  type DaemonOptions,
  largestMtu,
  parseSize,
  sizePool,
} from "../../src/daemon/options.ts";

const MIB = 1 << 20;

const options: DaemonOptions = {
  stack: "default",
  interfaces: [],
  regionBytes: 256 * MIB,
  framePoolBytes: 0,
  idleSeconds: 60,
  logLevel: "info",
};

describe("sizes", () => {
  it("are read with their unit", () => {
    assert.equal(parseSize("65536"), 65536);
    assert.equal(parseSize("512k"), 512 * 1024);
    assert.equal(parseSize("64M"), 64 * MIB);
    assert.equal(parseSize("4G"), 4096 * MIB);
  });

  it("are refused when they are none", () => {
    for (const text of ["", "-1", "1.5M", "M", "64MB", "0x10", "1e6"]) {
      assert.equal(parseSize(text), undefined);
    }
  });
});

describe("the frame pool", () => {
  const bytes = (...args: Parameters<typeof sizePool>) => {
    const { frameBytes, frameCount } = sizePool(...args);
    return frameBytes * frameCount;
  };

  it("grows with the queues and stays within 64 MiB", () => {
    assert.equal(bytes(0, [1500], 1), 16 * MIB);
    assert.equal(bytes(0, [1500], 2), 24 * MIB);
    assert.equal(bytes(0, [1500], 64), 64 * MIB);
  });

  it("is as large as asked for", () => {
    assert.equal(bytes(128 * MIB, [1500], 1), 128 * MIB);
  });

  it("has frames of a page when an interface's packets need them", () => {
    assert.equal(sizePool(0, [1500, 3000], 2).frameBytes, 4096);
    assert.equal(sizePool(0, [1500, 1400], 2).frameBytes, 2048);
  });

  it("has frames that hold the default MTU", () => {
    assert.ok(largestMtu(2048) >= 1500);
  });
});

describe("options", () => {
  it("that fit are taken", () => {
    assert.equal(checkOptions(options), undefined);
  });

  it("that do not fit are refused with what is wrong", () => {
    assert.match(checkOptions({ ...options, stack: "a/b" }) ?? "", /stack/);
    assert.match(checkOptions({ ...options, interfaces: ["a b"] }) ?? "", /interface/);
    assert.match(checkOptions({ ...options, regionBytes: 8192 * MIB }) ?? "", /4G/);
    assert.match(checkOptions({ ...options, framePoolBytes: 512 * MIB }) ?? "", /smaller/);
    assert.match(checkOptions({ ...options, framePoolBytes: 4096 }) ?? "", /1M/);
    assert.match(checkOptions({ ...options, idleSeconds: Number.NaN }) ?? "", /idle/);
    assert.match(checkOptions({ ...options, idleSeconds: -1 }) ?? "", /idle/);
  });
});

describe("an interface", () => {
  const link: Link = {
    ifindex: 2,
    name: "enp1s0",
    hardwareType: ARPHRD_ETHER,
    flags: IFF_UP,
    mtu: 1500,
    mac: Buffer.alloc(6, 2),
    master: 0,
    kind: "",
    rxQueues: 1,
    txQueues: 1,
  };
  const choose = (changes: Partial<Link>, named = false, hasAddress = true) =>
    chooseInterface({ ...link, ...changes }, { named, hasAddress, largestMtu: 1778 });

  it("is used by itself when it is hardware, veth or tap, up, and has an address", () => {
    for (const kind of ["", "veth", "tun"]) assert.equal(choose({ kind }).usable, true);
  });

  it("is left alone when it is no Ethernet, down, enslaved, without address, or made of others", () => {
    assert.match(choose({ hardwareType: 772 }).reason, /Ethernet/);
    assert.match(choose({ flags: 0 }).reason, /down/);
    assert.match(choose({ master: 5 }).reason, /bridge/);
    assert.match(choose({}, false, false).reason, /address/);
    assert.match(choose({ kind: "bridge" }).reason, /named/);
  });

  it("is used in spite of that when it is named, if it is Ethernet", () => {
    assert.equal(choose({ kind: "bridge", flags: 0 }, true, false).usable, true);
    assert.match(choose({ hardwareType: 65534 }, true).reason, /Ethernet/);
  });

  it("whose packets do not fit a frame is left to the kernel", () => {
    assert.equal(choose({ mtu: 1778 }, true).usable, true);
    assert.match(choose({ mtu: 1779 }, true).reason, /1778/);
  });

  it("is virtual when its other end may be a local kernel", () => {
    assert.equal(isVirtual({ ...link, kind: "veth" }, ""), true);
    assert.equal(isVirtual({ ...link, kind: "tun" }, ""), true);
    assert.equal(isVirtual(link, "virtio_net"), true);
    assert.equal(isVirtual(link, "ixgbe"), false);
  });
});

describe("a log line", () => {
  it("has time, level, message and what belongs to it", () => {
    const json = JSON.stringify({
      level: "info",
      time: "2026-01-01T00:00:00.000Z",
      msg: "interface in use",
      name: "veth0",
      reason: "two words",
    });
    assert.equal(
      formatLine(json),
      '2026-01-01T00:00:00.000Z INFO  interface in use name=veth0 reason="two words"\n',
    );
  });
});
