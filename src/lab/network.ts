// A small laboratory: network namespaces of our own, joined by veth pairs, that vanish again.
// The demo, the tests and the benchmarks run in it; the machine's own interfaces are not touched.

import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { BadCable, type Impairment } from "./impairment.ts";
import type { Outcome } from "./program.ts";
import { killRunningPrograms, Program, type ProgramOptions, run, until } from "./program.ts";

const NAME_PREFIX = "exasock-lab";
const NAMESPACE_FOLDER = "/run/netns";
/** What lies in a folder here that is named as a namespace, `ip netns exec` shows in /etc. */
const ETC_FOLDER = "/etc/netns";
/** The starting time (in clock ticks since boot) is the 22nd field of /proc/PID/stat. */
const STAT_START_FIELD_AFTER_NAME = 19;

/** One end of a veth pair. */
export interface Attachment {
  interfaceName: string;
  address: string;
  macAddress: string;
  /** The address at the other end. */
  peerAddress: string;
}

export type Offloads = "all" | "checksums" | "none";

export interface NetworkOptions {
  /** Pairs of host names to join. */
  links?: readonly (readonly [string, string])[];
  mtu?: number;
  /** Receive and transmit queues of each interface. */
  queues?: number;
  /** Makes each link a bad cable, which can be set anew later. */
  impairment?: Impairment | undefined;
  /** Lines that /etc/group has on the hosts besides the machine's. */
  groups?: readonly string[];
  /**
   * What the kernels leave to the interfaces: "checksums" are not finished; with "all", segments
   * may be giant, too.
   */
  offloads?: Offloads;
}

/** One end of a veth pair that is being made. */
interface End {
  host: Host;
  interfaceName: string;
  macAddress: string;
}

/** Counters of the kernel's own stack for one protocol, from /proc/net/snmp. */
export type KernelCounters = Record<string, number>;

function startTicks(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields[STAT_START_FIELD_AFTER_NAME] ?? null;
  } catch {
    return null;
  }
}

/** Removes namespaces whose maker was killed before it could: the name says which that was. */
export function removeLeftOverNamespaces(): void {
  for (const name of namespaceNames()) {
    const [pid, ticks] = name.slice(NAME_PREFIX.length + 1).split("-");
    if (startTicks(Number(pid)) !== ticks) removeNamespace(name);
  }
}

function namespaceNames(): string[] {
  try {
    return readdirSync(NAMESPACE_FOLDER).filter((name) => name.startsWith(`${NAME_PREFIX}-`));
  } catch {
    return [];
  }
}

/** The processes that live in a namespace of ours; nobody else's can. */
function pidsIn(name: string): number[] {
  try {
    const text = execFileSync("ip", ["netns", "pids", name], { encoding: "utf8", stdio: "pipe" });
    return text.split("\n").filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

function removeNamespace(name: string): void {
  for (const pid of pidsIn(name)) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // It has ended in the meantime.
    }
  }
  try {
    execFileSync("ip", ["netns", "del", name], { stdio: "pipe" });
  } catch {
    // It was removed in the meantime.
  }
  rmSync(join(ETC_FOLDER, name), { recursive: true, force: true });
}

/** Gives a namespace an /etc/group of its own; programs started before do not see it. */
function writeGroups(name: string, groups: readonly string[]): void {
  const lines = [readFileSync("/etc/group", "utf8").trimEnd(), ...groups, ""];
  mkdirSync(join(ETC_FOLDER, name), { recursive: true });
  writeFileSync(join(ETC_FOLDER, name, "group"), lines.join("\n"));
}

let networkCount = 0;
const openNetworks = new Set<Network>();
let hooked = false;

function cleanUpAtExit(): void {
  if (hooked) return;
  hooked = true;
  process.on("exit", () => {
    killRunningPrograms();
    for (const network of openNetworks) network.closeNow();
  });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.once(signal, () => process.exit(1));
  }
}

/** One network namespace: a host as far as programs can tell. */
export class Host {
  readonly name: string;
  readonly namespace: string;
  readonly attachments: Attachment[] = [];
  /** A process that stays in the namespace, so that /proc/PID/net shows the namespace's files. */
  readonly #resident: Program;

  constructor(name: string, namespace: string) {
    this.name = name;
    this.namespace = namespace;
    const command = ["ip", "netns", "exec", namespace, "sh", "-c", "echo ready; exec cat"];
    this.#resident = new Program(command, { limitMillis: 2 ** 31 - 1 });
  }

  /** Resolves when the host can be used. */
  async ready(): Promise<void> {
    await this.#resident.waitForOutput("ready");
  }

  /** The end of the first link. */
  get attachment(): Attachment {
    const first = this.attachments[0];
    if (!first) throw new Error(`host ${this.name} has no link`);
    return first;
  }

  get address(): string {
    return this.attachment.address;
  }

  get interfaceName(): string {
    return this.attachment.interfaceName;
  }

  /** The command line that runs a command in this namespace, with the same pid as the starter. */
  command(command: readonly string[]): string[] {
    return ["ip", "netns", "exec", this.namespace, ...command];
  }

  start(command: readonly string[], options?: ProgramOptions): Program {
    return new Program(this.command(command), options);
  }

  /** Runs to the end; throws unless the exit status is 0. */
  run(command: readonly string[], options?: ProgramOptions): Promise<Outcome> {
    return run(this.command(command), options);
  }

  /** A file under /proc/net as this namespace shows it; empty when this kernel has none. */
  procNet(file: string): string {
    const path = `/proc/${this.#resident.pid}/net/${file}`;
    return existsSync(path) ? readFileSync(path, "utf8") : "";
  }

  /** The ports of all UDP sockets in the namespace. */
  udpPorts(): number[] {
    const rows = this.procNet("udp").split("\n").slice(1).filter(Boolean);
    return rows.map((row) => Number.parseInt(row.trim().split(/\s+/)[1]?.split(":")[1] ?? "", 16));
  }

  async waitForUdpPort(port: number): Promise<void> {
    await until(`UDP port ${port} on ${this.name}`, () => this.udpPorts().includes(port));
  }

  async waitForTcpPort(port: number): Promise<void> {
    const suffix = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
    const listens = () => {
      const rows = `${this.procNet("tcp")}${this.procNet("tcp6")}`
        .split("\n")
        .map((row) => row.trim().split(/\s+/));
      return rows.some((row) => row[1]?.endsWith(suffix) && row[3] === "0A");
    };
    await until(`TCP port ${port} on ${this.name}`, listens);
  }

  /** What the kernel's own stack has counted here: InDatagrams of Udp, InSegs of Tcp … */
  kernelCounters(protocol: "Udp" | "Tcp"): KernelCounters {
    const lines = this.procNet("snmp")
      .split("\n")
      .filter((line) => line.startsWith(`${protocol}:`));
    const [names, values] = lines.map((line) => line.split(" ").slice(1));
    return Object.fromEntries((names ?? []).map((name, index) => [name, Number(values?.[index])]));
  }

  /** The pids of all processes in the namespace but the resident. */
  pids(): number[] {
    return pidsIn(this.namespace).filter((pid) => pid !== this.#resident.pid);
  }

  /** Ends everything in the namespace and removes it. */
  remove(): void {
    this.#resident.endInput();
    removeNamespace(this.namespace);
  }
}

/** Hosts and the links between them. */
export class Network implements AsyncDisposable {
  readonly hosts = new Map<string, Host>();
  /** Where the frames of impaired links pass. */
  readonly #middles: Host[] = [];
  readonly #cables: BadCable[] = [];

  /** Makes a network; with no options two hosts, left and right, and one link. */
  static async create(options: NetworkOptions = {}): Promise<Network> {
    cleanUpAtExit();
    const network = new Network();
    openNetworks.add(network);
    try {
      const {
        links = [["left", "right"]],
        mtu = 1500,
        queues = 1,
        impairment,
        groups = [],
      } = options;
      // A bad cable carries frames as they are: complete, and no larger than the link's.
      const { offloads = impairment ? "none" : "all" } = options;
      await network.#build({ links, mtu, queues, impairment, groups, offloads });
      return network;
    } catch (error) {
      network.closeNow();
      throw error;
    }
  }

  host(name: string): Host {
    const host = this.hosts.get(name);
    if (!host) throw new Error(`no host ${name} in this network`);
    return host;
  }

  /** The bad cable of the link with this number. */
  cable(link = 0): BadCable {
    const cable = this.#cables[link];
    if (!cable) throw new Error(`link ${link} of this network is not impaired`);
    return cable;
  }

  async #build(options: Required<NetworkOptions>): Promise<void> {
    const { links } = options;
    const owner = `${process.pid}-${startTicks(process.pid)}-${networkCount++}`;
    const open = async (name: string) => {
      const namespace = `${NAME_PREFIX}-${owner}-${name}`;
      await run(["ip", "netns", "add", namespace]);
      if (options.groups.length > 0) writeGroups(namespace, options.groups);
      const host = new Host(name, namespace);
      await host.ready();
      return host;
    };
    for (const name of new Set(links.flat())) this.hosts.set(name, await open(name));
    if (options.impairment) {
      for (const index of links.keys()) this.#middles.push(await open(`middle${index}`));
    }
    for (const host of this.hosts.values()) {
      await host.run(["ip", "link", "set", "lo", "up"]);
      // Without a limit every refused datagram is answered, as often as a test provokes it.
      const limit = "/proc/sys/net/ipv4/icmp_ratelimit";
      await host.run(["sh", "-c", `echo 0 > ${limit}`]);
    }
    for (const [index, [left, right]] of links.entries()) {
      await this.#join(index, this.host(left), this.host(right), options);
    }
  }

  async #join(
    index: number,
    left: Host,
    right: Host,
    options: Required<NetworkOptions>,
  ): Promise<void> {
    const [first, second] = [left, right].map((host, end) => ({
      host,
      interfaceName: `veth${host.attachments.length}`,
      address: `10.77.${index}.${end + 1}`,
      macAddress: `02:00:0a:4d:${index.toString(16).padStart(2, "0")}:0${end + 1}`,
    }));
    if (!first || !second) throw new Error("a link has two ends");
    const middle = this.#middles[index];
    if (middle) {
      // Nobody but the cable itself is to be heard.
      const quiet = "/proc/sys/net/ipv6/conf/default/disable_ipv6";
      await middle.run(["sh", "-c", `[ ! -e ${quiet} ] || echo 1 > ${quiet}`]);
      const near = { host: middle, interfaceName: "side0", macAddress: "02:00:0a:4d:ff:00" };
      const far = { host: middle, interfaceName: "side1", macAddress: "02:00:0a:4d:ff:01" };
      await this.#connect(first, near, options);
      await this.#connect(second, far, options);
    } else {
      await this.#connect(first, second, options);
    }
    for (const { host, interfaceName, address, macAddress } of [first, second]) {
      const peerAddress = (address === first.address ? second : first).address;
      host.attachments.push({ interfaceName, address, macAddress, peerAddress });
      await host.run(["ip", "addr", "add", `${address}/24`, "brd", "+", "dev", interfaceName]);
      if (options.offloads === "all") continue;
      const off = ["tso", "gso", "gro", ...(options.offloads === "none" ? ["tx"] : [])];
      const settings = off.flatMap((name) => [name, "off"]);
      await host.run(["ethtool", "-K", interfaceName, ...settings]);
    }
    if (middle && options.impairment) {
      this.#cables[index] = await BadCable.start(middle, ["side0", "side1"], options.impairment);
    }
  }

  /** A veth pair whose ends are both up. */
  async #connect(first: End, second: End, { mtu, queues }: Required<NetworkOptions>) {
    const size = ["mtu", String(mtu), "numrxqueues", String(queues), "numtxqueues", String(queues)];
    await run([
      ...["ip", "link", "add", first.interfaceName, "netns", first.host.namespace],
      ...["address", first.macAddress, ...size, "type", "veth"],
      ...["peer", "name", second.interfaceName, "netns", second.host.namespace],
      ...["address", second.macAddress, ...size],
    ]);
    for (const { host, interfaceName } of [first, second]) {
      await host.run(["ip", "link", "set", interfaceName, "up"]);
    }
    // Frames sent before both ends have a carrier are lost.
    for (const { host, interfaceName } of [first, second]) {
      await until(`${interfaceName} of ${host.name} to be up`, async () => {
        const shown = await host.run(["ip", "-o", "link", "show", interfaceName]);
        return shown.stdout.includes("LOWER_UP");
      });
    }
  }

  /** Ends all processes in the namespaces and removes them. Idempotent. */
  closeNow(): void {
    openNetworks.delete(this);
    for (const host of [...this.hosts.values(), ...this.#middles.splice(0)]) host.remove();
    this.hosts.clear();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.closeNow();
  }
}
