// What every npm script starts with, on a machine that may have nothing but Node and npm: installs
// the Debian packages and the npm packages that are missing, builds, then hands over.
//   node src/build/setup.mjs [build|test|demo|bench|transfers|sim|storm] [ARGUMENT…]
// Plain JavaScript without dependencies, because it runs before there are any.

import { spawnSync } from "node:child_process";
import {
  accessSync,
  constants,
  existsSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = join(dirname(fileURLToPath(import.meta.url)), "../..");
const SBIN = ["/usr/local/sbin", "/usr/sbin", "/sbin"];
const TRIPLET = process.arch === "arm64" ? "aarch64-linux-gnu" : "x86_64-linux-gnu";

/** What to look for (a program on PATH, or a file), and the Debian package that brings it. */
const BUILD_NEEDS = [
  { program: "clang", package: "clang" },
  { program: "ld", package: "binutils" },
  { file: "/usr/include/stdio.h", package: "libc6-dev" },
  { file: "/usr/include/linux/if_xdp.h", package: "linux-libc-dev" },
  { file: `/usr/include/${TRIPLET}/asm/types.h`, package: "linux-libc-dev" },
  { file: "/usr/include/bpf/libbpf.h", package: "libbpf-dev" },
  { file: "/usr/include/libelf.h", package: "libelf-dev" },
];
/** The programs that the demo and the tests run accelerated, and what they build networks with. */
const RUN_NEEDS = [
  { program: "ip", package: "iproute2" },
  { program: "ping", package: "iputils-ping" },
  { program: "ethtool", package: "ethtool" },
  { program: "nc.openbsd", package: "netcat-openbsd" },
  { program: "nc.traditional", package: "netcat-traditional" },
  { program: "socat", package: "socat" },
  { program: "python3", package: "python3" },
  { program: "sockperf", package: "sockperf" },
  { program: "valgrind", package: "valgrind" },
  // Reads the simulator's captures in a test.
  { program: "tshark", package: "tshark" },
  // clang 14 does not make calls of the fortified receive functions, which tests need.
  { program: "gcc", package: "gcc" },
];
/** What the tests and benchmarks run accelerated besides, and what loads it. */
const SERVER_NEEDS = [
  { program: "nginx", package: "nginx-light" },
  { program: "ab", package: "apache2-utils" },
  { program: "apache2", package: "apache2-bin" },
  { program: "gunicorn", package: "gunicorn" },
  { program: "javac", package: "default-jdk-headless" },
  { program: "redis-server", package: "redis-server" },
  { program: "memcached", package: "memcached" },
  { program: "haproxy", package: "haproxy" },
  { program: "curl", package: "curl" },
  { program: "iperf3", package: "iperf3" },
  { program: "pg_ctlcluster", package: "postgresql" },
  { program: "ssh", package: "openssh-client" },
  { program: "sshd", package: "openssh-server" },
];
const RUN = [...BUILD_NEEDS, ...RUN_NEEDS];
const ALL = [...RUN, ...SERVER_NEEDS];
const NEEDS = {
  setup: ALL,
  build: BUILD_NEEDS,
  docs: BUILD_NEEDS,
  test: ALL,
  demo: RUN,
  bench: ALL,
  transfers: RUN,
  storm: RUN,
  sim: BUILD_NEEDS,
};
/** What runs after the build, by tsx. */
const NEXT = {
  docs: "src/build/write-docs.ts",
  test: "src/build/test.ts",
  demo: "src/demo/main.ts",
  bench: "bench/main.ts",
  transfers: "bench/transfers.ts",
  sim: "src/sim/main.ts",
  storm: "test/resilience/storm-main.ts",
};
/** While it exists and exits so, Debian starts no service that it installs. */
const SERVICE_POLICY = "/usr/sbin/policy-rc.d";
const SERVICE_POLICY_TEXT = "#!/bin/sh\nexit 101\n";

/** Ends the program with a single line. */
function fail(line) {
  console.error(`setup: ${line}`);
  process.exit(1);
}

function isOnPath(program) {
  return [...(process.env.PATH ?? "").split(":"), ...SBIN].some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return statSync(join(folder, program)).isFile();
    } catch {
      return false;
    }
  });
}

function missingPackages(needs) {
  const missing = needs.filter((one) => {
    return one.file ? !existsSync(one.file) : !isOnPath(one.program);
  });
  return [...new Set(missing.map((one) => one.package))];
}

/** Runs a program with our output; returns its exit status. */
function run(program, args, env = {}) {
  const done = spawnSync(program, args, {
    cwd: ROOT,
    stdio: "inherit",
    env: { ...process.env, ...env },
  });
  if (done.error) fail(`${program}: ${done.error.message}`);
  return done.status ?? 1;
}

/** Programs are wanted, not services of this machine: none is started while `work` installs. */
function withoutServices(work) {
  if (existsSync(SERVICE_POLICY)) return work();
  // A signal ends apt-get, and this program only when the machine is as it was.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => {});
  process.once("exit", () => rmSync(SERVICE_POLICY, { force: true }));
  writeFileSync(SERVICE_POLICY, SERVICE_POLICY_TEXT, { mode: 0o755 });
  const result = work();
  rmSync(SERVICE_POLICY, { force: true });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.removeAllListeners(signal);
  return result;
}

function installPackages(needs) {
  const packages = missingPackages(needs);
  if (packages.length === 0) return;
  const list = packages.join(" ");
  const isPossible = process.getuid?.() === 0 && isOnPath("apt-get");
  if (!isPossible) fail(`packages are missing; run as root: apt-get install ${list}`);
  console.log(`setup: installing ${list}`);
  const quiet = { DEBIAN_FRONTEND: "noninteractive" };
  const options = ["-qq", "-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3"];
  if (run("apt-get", [...options, "update"], quiet) !== 0) fail("apt-get update failed");
  const install = [...options, "install", "-y", "--no-install-recommends", ...packages];
  const installed = withoutServices(() => run("apt-get", install, quiet));
  if (installed !== 0) fail(`apt-get install ${list} failed`);
  const left = missingPackages(needs);
  if (left.length > 0) fail(`still missing after installation: ${left.join(" ")}`);
}

function readLock(path) {
  try {
    return JSON.parse(readFileSync(join(ROOT, path), "utf8")).packages;
  } catch {
    return undefined;
  }
}

/** Whether node_modules holds what package-lock.json asks for (npm notes what it installed). */
function areModulesCurrent() {
  const wanted = readLock("package-lock.json");
  const present = readLock("node_modules/.package-lock.json");
  if (!wanted || !present) return false;
  const isSame = ([name, entry]) => {
    const own = present[name];
    return own ? own.version === entry.version : entry.optional === true;
  };
  const entries = Object.entries(wanted).filter(([name]) => name !== "");
  return entries.every(isSame) && Object.keys(present).every((name) => name in wanted);
}

function installModules() {
  if (areModulesCurrent()) return;
  console.log("setup: npm ci");
  const npm = process.env.npm_execpath;
  const args = ["ci", "--include=dev", "--no-audit", "--no-fund"];
  const status = npm?.endsWith(".js") ? run(process.execPath, [npm, ...args]) : run("npm", args);
  if (status !== 0) fail("npm ci failed");
}

const [command = "setup", ...rest] = process.argv.slice(2);
const needs = NEEDS[command];
if (!needs) fail(`unknown command ${command}; there are: ${Object.keys(NEEDS).join(" ")}`);
if (process.platform !== "linux") fail("exasock runs on Linux only");
if (Number(process.versions.node.split(".")[0]) < 20) fail("Node 20 or later is needed");
process.env.PATH = [process.env.PATH, ...SBIN].join(":");
installPackages(needs);
installModules();
if (command !== "setup") {
  const tsx = ["--import", "tsx"];
  const isBuild = command === "build";
  const built = run(process.execPath, [...tsx, "src/build/main.ts", ...(isBuild ? rest : [])]);
  if (built !== 0 || isBuild) process.exit(built);
  process.exit(run(process.execPath, [...tsx, NEXT[command], ...rest]));
}
