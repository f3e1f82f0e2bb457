// Connections over a path that carries less than the interface: three cables, the middle one of
// which takes packets of 1000 bytes.

import assert from "node:assert/strict";
import { type Scene, scenario, useNetwork } from "../support/scenario.ts";
import { accept, listening, tcpInfo } from "../support/tcp.ts";

const NARROW_MTU = 1000;
/** Headers of a segment with timestamps. */
const HEADERS_BYTES = 52;
const LONG_BYTES = 50_000;
/** In struct tcp_info. */
const SND_MSS_OFFSET = 16;
const PMTU_OFFSET = 60;

useNetwork({
  links: [
    ["left", "right"],
    ["left", "near"],
    ["near", "far"],
    ["far", "right"],
  ],
});

/** Left and right reach one another by way of near and far. */
async function narrowPath(scene: Scene): Promise<void> {
  const [left, near, far, right] = ["left", "near", "far", "right"].map((name) => scene.host(name));
  if (!left || !near || !far || !right) throw new Error("four hosts");
  for (const [router, attachment] of [
    [near, near.attachments[1]],
    [far, far.attachments[0]],
  ] as const) {
    await router.run(["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]);
    const name = attachment?.interfaceName ?? "";
    await router.run(["ip", "link", "set", name, "mtu", String(NARROW_MTU)]);
  }
  const via = (net: string, gateway: string) => ["ip", "route", "replace", net, "via", gateway];
  await left.run(via("10.77.3.0/24", "10.77.1.2"));
  await near.run(via("10.77.3.0/24", "10.77.2.2"));
  await far.run(via("10.77.1.0/24", "10.77.2.1"));
  await right.run(via("10.77.1.0/24", "10.77.3.1"));
}

scenario(
  "a connection learns what its path carries, and sends no larger segments",
  async (scene) => {
    await narrowPath(scene);
    const [subject, peer] = [await scene.subject(), await scene.peer()];
    const far = scene.right.attachments[1]?.address ?? "";
    const listener = await listening(peer, far);
    const fd = await subject.socket("SOCK_STREAM");
    await subject.connect(fd, listener.at);
    const accepted = await accept(peer, listener.fd);
    const before = await tcpInfo(subject, fd);
    assert.equal(before.readUInt32LE(PMTU_OFFSET), 1500);
    const bytes = Buffer.from(Array.from({ length: LONG_BYTES }, (_, i) => (i * 7) & 0xff));
    const sending = subject.inThread.send(fd, bytes);
    await peer.recv(accepted, LONG_BYTES, "MSG_WAITALL");
    await sending;
    const info = await tcpInfo(subject, fd);
    assert.equal(info.readUInt32LE(PMTU_OFFSET), NARROW_MTU);
    assert.equal(info.readUInt32LE(SND_MSS_OFFSET), NARROW_MTU - HEADERS_BYTES);
  },
  { bypass: { connections: 1, segments: 60 } },
);
