// Frames as an enemy or a broken card would send them. The kernel is the oracle for which of them
// carry a datagram; all others are counted, crash nothing, and no frame of the pool is lost.

import assert from "node:assert/strict";
import { test } from "node:test";
import { type Host, Network } from "../../src/lab/network.ts";
import { until } from "../../src/lab/program.ts";
import { bound, PATIENCE_MILLIS } from "../support/builders.ts";
import { compileProgram } from "../support/compile.ts";
import { assertServes, startEcho } from "../support/echo.ts";
import { status } from "../support/exasock.ts";
import { FIELD, random, seal, sealIp, stream, udpFrame } from "../support/frames.ts";
import { skipWithoutRoot } from "../support/privilege.ts";
import { assertFramesConserved } from "../support/proof.ts";
import { poll } from "../support/readiness.ts";
import { type Scene, scenario } from "../support/scenario.ts";
import type { Address } from "../support/transcript.ts";

const RANDOM_FRAMES = 100_000;
const BATCH = 5000;
const SOURCE_PORT = 5555;
const LONGEST_PAYLOAD = 300;

function good(left: Host, right: Host, port: number, payload: Uint8Array): Buffer {
  return udpFrame({
    destinationMac: left.attachment.macAddress,
    sourceMac: right.attachment.macAddress,
    source: right.address,
    destination: left.address,
    sourcePort: SOURCE_PORT,
    destinationPort: port,
    payload,
  });
}

async function send(from: Host, frames: readonly Buffer[]): Promise<void> {
  const program = from.start([
    await compileProgram("test/support/send-frames.c"),
    from.interfaceName,
  ]);
  program.write(stream(frames));
  program.endInput();
  await program.waitForSuccess();
}

type Spoil = (frame: Buffer) => Buffer;

function change(field: number, bytes: number, value: number, mend: Spoil = (f) => f): Spoil {
  return (frame) => {
    frame.writeUIntBE(value, field, bytes);
    return mend(frame);
  };
}

const LIES: [string, Spoil][] = [
  ["a wrong IPv4 checksum", change(FIELD.ipChecksum, 2, 0x1234)],
  ["a wrong UDP checksum", change(FIELD.udpChecksum, 2, 0x1234)],
  ["no UDP checksum", change(FIELD.udpChecksum, 2, 0)],
  ["an IPv4 length beyond the frame", change(FIELD.ipLength, 2, 2000, sealIp)],
  ["an IPv4 length shorter than its header", change(FIELD.ipLength, 2, 10, sealIp)],
  ["an IPv4 length that cuts the UDP header", change(FIELD.ipLength, 2, 24, sealIp)],
  ["an IPv4 length that cuts the payload", change(FIELD.ipLength, 2, 30, sealIp)],
  ["a UDP length beyond the IPv4 length", change(FIELD.udpLength, 2, 200, sealIp)],
  ["a UDP length below its header", change(FIELD.udpLength, 2, 7)],
  ["a UDP length of 0", change(FIELD.udpLength, 2, 0)],
  ["a UDP length that leaves bytes behind", change(FIELD.udpLength, 2, 10, seal)],
  ["IP version 6 in an IPv4 frame", change(FIELD.ipVersion, 1, 0x65, sealIp)],
  ["a header length of 4 words", change(FIELD.ipVersion, 1, 0x44, sealIp)],
  ["a header length of 15 words", change(FIELD.ipVersion, 1, 0x4f)],
  ["a TTL of 0", change(FIELD.ipTtl, 1, 0, sealIp)],
  ["a TTL of 1", change(FIELD.ipTtl, 1, 1, sealIp)],
  ["more fragments to come", change(FIELD.ipFragment, 2, 0x2000, sealIp)],
  ["a fragment offset", change(FIELD.ipFragment, 2, 0x0004, sealIp)],
  ["the bit that must not be set", change(FIELD.ipFragment, 2, 0x8000, sealIp)],
  ["another destination", change(FIELD.ipDestination, 4, 0xc0000207, seal)],
  ["a broadcast source", change(FIELD.ipSource, 4, 0xffffffff, seal)],
  ["a source of 0.0.0.0", change(FIELD.ipSource, 4, 0, seal)],
  ["a multicast source", change(FIELD.ipSource, 4, 0xe0000001, seal)],
  ["a source of 127.0.0.1", change(FIELD.ipSource, 4, 0x7f000001, seal)],
  ["its receiver's own source", change(FIELD.ipSource, 4, 0x0a4d0001, seal)],
  ["another host's MAC address", change(0, 6, 0x020000aabbcc)],
  ["a broadcast MAC address", change(0, 6, 0xffffffffffff)],
  ["an unknown ether type", change(FIELD.etherType, 2, 0x88b5)],
  ["another protocol", change(FIELD.ipProtocol, 1, 6, sealIp)],
  ["a source port of 0", change(FIELD.udpDestination - 2, 2, 0, seal)],
  ["padding behind the datagram", (frame) => Buffer.concat([frame, Buffer.alloc(40, 0xee)])],
  ["half of its bytes", (frame) => frame.subarray(0, frame.length >> 1)],
  ["only its headers", (frame) => frame.subarray(0, FIELD.payload)],
  ["only its Ethernet and half an IPv4 header", (frame) => frame.subarray(0, 24)],
  ["only its Ethernet header", (frame) => frame.subarray(0, 14)],
];

/** Sends a frame and then a good datagram, and writes down what arrives until that one comes. */
async function arrivals(scene: Scene, spoil: Spoil): Promise<void> {
  const a = await bound(await scene.subject(), scene.left.address);
  // The kernel must know the way back before the first frame: it drops some strange ones otherwise.
  const bad = good(scene.left, scene.right, a.at.port, Buffer.from("the spoiled datagram"));
  const end = good(scene.left, scene.right, a.at.port, Buffer.from("the end"));
  await send(scene.right, [spoil(bad), end]);
  for (;;) {
    const { result } = await poll(a.calls.untold, [[a.fd, "POLLIN"]], PATIENCE_MILLIS);
    if (result !== 1) return a.calls.note("the end never came");
    const { data } = await a.calls.recvfrom(a.fd);
    if (data.toString() === "the end") return;
  }
}

for (const [name, spoil] of LIES) {
  scenario(`a frame with ${name}`, (scene) => arrivals(scene, spoil));
}

/** A frame that differs from a good one in a few random places, or is random as a whole. */
function spoiled(next: (below: number) => number, frame: Buffer): Buffer {
  const kind = next(10);
  if (kind === 0) return frame.subarray(0, 14 + next(frame.length - 14));
  if (kind === 1) {
    const bytes = Buffer.from(Array.from({ length: 14 + next(LONGEST_PAYLOAD) }, () => next(256)));
    frame.copy(bytes, 0, 0, 14);
    return bytes;
  }
  for (let i = 0; i <= next(3); i++) {
    // Headers most of the time, but not the destination: frames for others teach nothing.
    const at = next(4) > 0 ? 14 + next(28) : 14 + next(frame.length - 14);
    if (at >= FIELD.ipDestination && at < FIELD.udpLength) continue;
    frame[at] = next(256);
  }
  if (kind < 4) return frame;
  if (kind < 7) return sealIp(frame);
  return frame.readUInt16BE(FIELD.udpLength) <= frame.length - 34 ? seal(frame) : sealIp(frame);
}

function randomFrames(seed: number, left: Host, right: Host, port: number): Buffer[] {
  const next = random(seed);
  return Array.from({ length: RANDOM_FRAMES }, (_, i) => {
    const payload = Buffer.alloc(next(LONGEST_PAYLOAD), i);
    return spoiled(next, good(left, right, port, payload));
  });
}

/** What became of each frame that the XDP program gave to the stack. */
function fates(counters: Readonly<Record<string, number>>): number {
  const names = Object.keys(counters).filter((name) => name.startsWith("rxDrop"));
  const ends = [...names, "rxDatagrams", "rxIcmpErrors", "rxIcmpIgnored"];
  return ends.reduce((sum, name) => sum + (counters[name] ?? 0), 0);
}

test("100,000 random frames are counted, crash nothing and lose no frame", {
  skip: skipWithoutRoot,
}, async () => {
  const seed = Number(process.env.SEED ?? 1);
  console.log(`SEED=${seed}`);
  await using network = await Network.create();
  const [left, right] = [network.host("left"), network.host("right")];
  const server = await startEcho(left);
  const frames = randomFrames(seed, left, right, server.port);
  for (let i = 0; i < frames.length; i += BATCH) {
    await send(right, frames.slice(i, i + BATCH));
    assert.equal(server.program.exit, null, "the server has ended");
  }
  await assertFramesConserved(left);
  const now = await status(left);
  assert.ok(now);
  const { counters } = now;
  console.log(`${counters.rxFrames} of ${frames.length} reached the stack`);
  assert.ok((counters.rxFrames ?? 0) > RANDOM_FRAMES / 4, "most frames are steered to the stack");
  await until("each frame to have one fate", async () => {
    const after = (await status(left))?.counters ?? {};
    return fates(after) === after.rxFrames;
  }).catch(() => assert.equal(fates(counters), counters.rxFrames, JSON.stringify(counters)));
  await assertServes(server, right);
});

test("a flood of good frames loses none of the pool", { skip: skipWithoutRoot }, async () => {
  await using network = await Network.create();
  const [left, right] = [network.host("left"), network.host("right")];
  const server = await startEcho(left);
  const at: Address = { address: left.address, port: server.port };
  const frames = Array.from({ length: 50_000 }, (_, i) => {
    return good(left, right, at.port, Buffer.from(`datagram ${i}`));
  });
  await send(right, frames);
  await assertFramesConserved(left);
  await assertServes(server, right);
});
