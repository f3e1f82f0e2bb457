// Run inside a network namespace by datapath.test.ts: sets up the interface named on the command
// line with exasockd's own pieces, tells what arrives where, and answers commands on standard input
// ("udp PORT": steer that port to the stack; "report"; "quit"), one line of JSON each.

import { createSocket } from "node:dgram";
import { createInterface } from "node:readline";
import { ARRIVALS_OFFSET, STEERING_OFFSET } from "../../build/gen/layout.ts";
import { AcceleratedInterface } from "../../src/daemon/accelerated-interface.ts";
import { stackAddressOf } from "../../src/daemon/address.ts";
import { native, watch } from "../../src/daemon/native.ts";
import { decodeLink, encodeDump, RTM_GETLINK } from "../../src/daemon/netlink/route.ts";
import { decodeDiagSocket, DESTROY_GROUPS } from "../../src/daemon/netlink/sock-diag.ts";
import {
  NETLINK_ROUTE,
  NETLINK_SOCK_DIAG,
  NetlinkEvents,
  NetlinkRequests,
} from "../../src/daemon/netlink/socket.ts";
import { Region } from "../../src/daemon/region.ts";
import { loadArrivals } from "../../src/daemon/xdp-program.ts";

const SOL_SOCKET = 1;
const SO_ATTACH_BPF = 50;
const SO_COOKIE = 57;
const PROTOCOL_UDP = 17n;

const [name, address] = process.argv.slice(2);
const bytes = Buffer.from((address ?? "").split(".").map(Number));

/** The key and bucket of steer.bpf.c, computed by an independent hand. */
function steer(region: Region, port: number): void {
  const portNet = BigInt(((port & 0xff) << 8) | (port >> 8));
  const fold = (stackAddressOf(bytes).lo >> 32n) ^ 0xffff0000n;
  const low = (portNet << 16n) | (PROTOCOL_UDP << 8n);
  const u32 = (value: bigint) => BigInt.asUintN(32, value);
  let hash = u32(fold * 0x9e3779b1n) ^ u32(low * 0x85ebca6bn);
  hash ^= hash >> 15n;
  const bucket = Number(u32(hash * 0x9e3779b1n) >> 19n);
  region.view.setBigUint64(STEERING_OFFSET + bucket * 64, (fold << 32n) | low, true);
}

function cookieOf(fd: number): bigint {
  const value = Buffer.alloc(8);
  native().getSocketOption(fd, SOL_SOCKET, SO_COOKIE, value);
  return value.readBigUInt64LE(0);
}

const region = Region.create({
  stack: "probe",
  regionBytes: 256 << 20,
  pool: { frameBytes: 2048, frameCount: 8192 },
});
const requests = new NetlinkRequests(NETLINK_ROUTE);
const link = requests
  .dump("links", (sequence) => encodeDump(RTM_GETLINK, sequence))
  .map(decodeLink)
  .find((one) => one?.name === name);
if (link === undefined) throw new Error(`no interface ${name}`);
const used = await AcceleratedInterface.open(region, link, true, 0, undefined);
const arrivals = loadArrivals(region.arrivalsFd);

const destroyed = new Set<bigint>();
const events = new NetlinkEvents(NETLINK_SOCK_DIAG, DESTROY_GROUPS, {
  onMessages: (messages) => {
    for (const message of messages) {
      const gone = decodeDiagSocket(message);
      if (gone) destroyed.add(gone.cookie);
    }
  },
  onLost: () => {},
});

const readable = new Set<number>();
for (const { fd, place } of used.queues) {
  const opened = watch(fd, () => {
    readable.add(place.queueId);
    native().watchStop(opened);
  });
}

/** An ordinary socket whose arrivals are counted. */
const socket = createSocket("udp4");
let received = 0;
socket.on("message", () => {
  received += 1;
});
await new Promise<void>((resolve) => socket.bind(0, address, resolve));
const fd = (socket as unknown as { _handle: { fd: number } })._handle.fd;
const program = Buffer.alloc(4);
program.writeInt32LE(arrivals);
native().setSocketOption(fd, SOL_SOCKET, SO_ATTACH_BPF, program);
const cookie = cookieOf(fd);

function report(): string {
  const at = ARRIVALS_OFFSET + Number(cookie & 65535n) * 8;
  return JSON.stringify({
    mode: used.mode,
    zeroCopy: used.zeroCopy,
    queues: used.queues.length,
    readable: [...readable].sort(),
    received,
    arrivals: Number(region.view.getBigUint64(at, true)),
    destroyed: destroyed.has(cookie),
  });
}

console.log(JSON.stringify({ port: socket.address().port }));
for await (const line of createInterface({ input: process.stdin })) {
  const [verb, argument] = line.split(" ");
  if (verb === "udp") steer(region, Number(argument));
  if (verb === "close") await new Promise<void>((resolve) => socket.close(() => resolve()));
  if (verb === "quit") break;
  console.log(report());
}
used.close();
events.close();
console.log(JSON.stringify({ freeFrames: region.freeFrames, frames: region.header.frameCount }));
process.exit(0);
