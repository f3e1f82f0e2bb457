import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { decodeBitNames } from "../../src/cli/device-features.ts";
import { examine, type Finding } from "../../src/cli/doctor.ts";
import { type InterfaceFacts, type Machine, parseKernelConfig } from "../../src/cli/machine.ts";
import { findGroup } from "../../src/cli/permission.ts";
import { encodeAttribute, encodeUint32 } from "../../src/daemon/netlink/message.ts";
import { ARPHRD_ETHER, IFF_LOOPBACK, IFF_UP } from "../../src/daemon/netlink/route.ts";
import type { Status } from "../../src/daemon/status.ts";

const ALL_CAPABILITIES = (1n << 41n) - 1n;
const NATIVE_XDP = 0b111;

function anInterface(changes: Partial<InterfaceFacts> = {}, link = {}): InterfaceFacts {
  return {
    link: {
      ifindex: 2,
      name: "eth0",
      hardwareType: ARPHRD_ETHER,
      flags: IFF_UP,
      mtu: 1500,
      mac: Buffer.alloc(6, 2),
      master: 0,
      kind: "",
      rxQueues: 4,
      txQueues: 4,
      ...link,
    },
    driver: "ice",
    hasIpv4: true,
    master: null,
    vlans: [],
    hasXdpProgram: false,
    features: { xdp: NATIVE_XDP, rxQueues: 4, offloads: new Set() },
    ...changes,
  };
}

/** A machine that lacks nothing. */
function aMachine(changes: Partial<Machine> = {}): Machine {
  const needed = ["CONFIG_BPF_SYSCALL", "CONFIG_XDP_SOCKETS", "CONFIG_INET_UDP_DIAG"];
  return {
    kernelRelease: "6.12.3-amd64",
    kernelConfig: new Map(needed.map((name) => [name, "y"])),
    hasBtf: true,
    xdpSocket: "",
    bpfMap: "",
    user: { name: "root", uid: 0, capabilities: ALL_CAPABILITIES, isMember: false },
    group: { name: "exasock", exists: true },
    lockedMemoryBytes: 8 << 20,
    processors: 8,
    interfaces: [anInterface()],
    library: { path: "/x/libexasock.so", found: true, build: "0123456789abcdef" },
    daemon: null,
    daemonProblem: "",
    breaches: null,
    ...changes,
  };
}

const ALICE = { name: "alice", uid: 1000, capabilities: 0n, isMember: true };

function findings(changes: Partial<Machine> = {}): Finding[] {
  return examine(aMachine(changes));
}

/** The only finding about a subject. */
function about(subject: string, changes: Partial<Machine>): [string, string, string] {
  const found = findings(changes).filter((one) => one.subject === subject);
  assert.equal(found.length, 1, `one finding about ${subject}`);
  const { level, message, advice } = found[0] as Finding;
  return [level, message, advice];
}

/** The hints about an interface beyond the line that describes it. */
function hints(changes: Partial<InterfaceFacts>, link = {}): string[][] {
  const all = findings({ interfaces: [anInterface(changes, link)] });
  const own = all.filter(({ subject, level }) => subject === "interface eth0" && level !== "ok");
  return own.map(({ message, advice }) => [message, advice]);
}

describe("doctor", () => {
  it("finds nothing on a machine that lacks nothing", () => {
    assert.deepEqual(
      findings().filter(({ level }) => level !== "ok"),
      [],
    );
  });

  it("says what to do about everything that is not in order", () => {
    const changes: Partial<Machine>[] = [
      { kernelRelease: "6.4.9", kernelConfig: new Map(), hasBtf: false, xdpSocket: "EAFNOSUPPORT" },
      { bpfMap: "EPERM", user: { ...ALICE, isMember: false }, processors: 1, interfaces: [] },
      { daemonProblem: "exasockd did not answer within 5 s" },
      { breaches: ["frames: 1 are held by nobody"] },
      { user: { ...ALICE, uid: 0 }, group: { name: "exasock", exists: false } },
    ];
    for (const finding of changes.flatMap(findings)) {
      assert.equal(finding.advice === "", finding.level === "ok", JSON.stringify(finding));
    }
  });

  it("knows which kernels are too old", () => {
    for (const release of ["5.15.0-100-generic", "6.1.0-18-amd64", "6.4.99"]) {
      assert.equal(about("kernel", { kernelRelease: release })[0], "fail", release);
    }
    for (const release of ["6.5.0", "6.18.44-fc", "7.0.0-rc1", "10.1"]) {
      assert.equal(about("kernel", { kernelRelease: release })[0], "ok", release);
    }
  });

  it("names kernel options that are not set", () => {
    const kernelConfig = new Map([["CONFIG_BPF_SYSCALL", "y"]]);
    const [level, message] = about("kernel options", { kernelConfig });
    assert.deepEqual(
      [level, message],
      ["fail", "CONFIG_XDP_SOCKETS, CONFIG_INET_UDP_DIAG not set"],
    );
    assert.equal(about("kernel options", { kernelConfig: null })[0], "ok");
  });

  it("tells what a user without privileges can and can't do", () => {
    const denied = { user: ALICE, xdpSocket: "EPERM", bpfMap: "EPERM" };
    const missing = "CAP_NET_ADMIN, CAP_NET_RAW, CAP_IPC_LOCK, CAP_BPF missing";
    assert.deepEqual(about("privileges", denied), [
      "warn",
      `alice can't start exasockd: ${missing}`,
      "as root: exasockctl up",
    ]);
    assert.equal(about("group exasock", denied)[0], "ok");
    const stranger = { ...denied, user: { ...ALICE, isMember: false } };
    assert.deepEqual(about("group exasock", stranger), [
      "fail",
      "alice is not a member and may not use the stack",
      "as root: usermod -aG exasock alice; then log in again",
    ]);
    assert.equal(
      about("group exasock", { ...stranger, group: { name: "exasock", exists: false } })[0],
      "fail",
    );
  });

  it("sees that root in a container is not all-powerful", () => {
    const user = { name: "root", uid: 0, capabilities: 0n, isMember: false };
    assert.equal(about("privileges", { user })[0], "fail");
    assert.equal(about("BPF", { user, bpfMap: "EPERM" })[0], "fail");
    assert.equal(about("locked memory", { user })[0], "warn");
    assert.equal(about("locked memory", { user, lockedMemoryBytes: 1 << 30 })[0], "ok");
  });

  it("compares the library with the running exasockd", () => {
    const daemon = { build: "fedcba9876543210", pid: 1, interfaces: [], unusable: [] };
    const [level, message] = about("library", { daemon: daemon as unknown as Status });
    assert.equal(level, "fail");
    assert.match(message, /build 0123456789abcdef, but exasockd runs build fedcba9876543210/);
    const library = { ...aMachine().library, found: false };
    assert.equal(about("library", { library })[0], "fail");
  });

  it("wants one interface at least", () => {
    const loopback = anInterface({}, { name: "lo", flags: IFF_UP | IFF_LOOPBACK });
    assert.deepEqual(about("interfaces", { interfaces: [loopback] }).slice(0, 2), [
      "fail",
      "none that the stack can use",
    ]);
    assert.equal(about("interfaces", { interfaces: [anInterface({}, { flags: 0 })] })[0], "fail");
    assert.equal(about("interfaces", { interfaces: [anInterface({ hasIpv4: false })] })[0], "fail");
  });

  it("describes an interface", () => {
    const message = (changes: Partial<InterfaceFacts>) =>
      findings({ interfaces: [anInterface(changes)] }).find(
        ({ subject }) => subject === "interface eth0",
      )?.message;
    assert.equal(message({}), "ice: native XDP, 4 queues, MTU 1500");
    const features = { xdp: NATIVE_XDP | 8, rxQueues: 1, offloads: undefined };
    assert.equal(message({ features }), "ice: native XDP, zero-copy, 1 queue, MTU 1500");
    assert.equal(
      message({ features: { xdp: undefined, rxQueues: undefined, offloads: undefined } }),
      "ice: generic XDP, MTU 1500",
    );
  });

  it("gives hints about queues, offloads and drivers", () => {
    const features = anInterface().features;
    assert.deepEqual(
      hints({ features: { ...features, xdp: 0 } })[0]?.[0],
      "its driver has no native XDP",
    );
    assert.deepEqual(hints({ features: { ...features, rxQueues: 96 } }), [
      ["96 receive queues, of which 64 can be used", "ethtool -L eth0 combined 64"],
    ]);
    const offloads = new Set(["rx-lro", "rx-vlan-hw-parse"]);
    assert.deepEqual(hints({ features: { ...features, offloads } }), [
      ["rx-lro is on: several packets arrive as one", "ethtool -K eth0 lro off rx-gro-hw off"],
    ]);
    const [, vlan] = hints({ features: { ...features, offloads }, vlans: ["eth0.5"] });
    assert.equal(vlan?.[0], "VLANs on it (eth0.5), and the NIC removes their tags");
  });

  it("explains why an interface is left to the kernel", () => {
    assert.deepEqual(hints({ master: "br0" }, { master: 7 })[0]?.[0], "not used: belongs to br0");
    assert.match(hints({}, { kind: "vlan" })[0]?.[0] ?? "", /^not used: of kind vlan/);
    assert.match(hints({}, { kind: "bond" })[0]?.[1] ?? "", /NIC with an address of its own/);
    const [mtu] = hints({}, { mtu: 9000 });
    assert.match(mtu?.[0] ?? "", /MTU 9000 is larger than a frame holds \(at most 3826\)/);
    assert.equal(mtu?.[1], "ip link set eth0 mtu 3826");
  });

  it("reports what exasockd itself could not use", () => {
    const daemon = {
      ...{ build: aMachine().library.build, pid: 1, interfaces: [] },
      unusable: [{ name: "eth0", reason: "AF_XDP on queue 0: no room" }],
    };
    const [level, message] = about("interface eth0", { daemon: daemon as unknown as Status });
    assert.deepEqual([level, message], ["fail", "AF_XDP on queue 0: no room"]);
  });
});

describe("what doctor reads", () => {
  it("is the kernel's configuration", () => {
    const text = "# comment\nCONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=m\nCONFIG_D=17\n";
    assert.deepEqual(Object.fromEntries(parseKernelConfig(text)), {
      CONFIG_A: "y",
      CONFIG_C: "m",
      CONFIG_D: "17",
    });
  });

  it("is the group file", () => {
    const text = "root:x:0:\nexasock:x:998:alice,bob\nexasock2:x:7:\n";
    assert.equal(findGroup(text, "exasock"), 998);
    assert.equal(findGroup(text, "exa"), null);
    assert.equal(findGroup("exasock\nexasock:x:\n", "exasock"), null);
  });

  it("is a list of offloads", () => {
    const bit = (index: number, name: string) =>
      encodeAttribute(
        1,
        Buffer.concat([encodeUint32(1, index), encodeAttribute(2, Buffer.from(`${name}\0`))]),
      );
    const bits = encodeAttribute(3, Buffer.concat([bit(1, "rx-lro"), bit(2, "rx-gro")]));
    assert.deepEqual([...decodeBitNames(bits)], ["rx-lro", "rx-gro"]);
    assert.deepEqual([...decodeBitNames(bits.subarray(0, 20))], []);
  });
});
