// SCM_RIGHTS between two programs that are not related, over a Unix datagram socket.

import type { Calls } from "./calls.ts";
import { int32 } from "./memory.ts";
import type { Scene } from "./scenario.ts";

/** An abstract name: nothing is left behind. */
function unixAddress(name: string): Buffer {
  return Buffer.from(`\x01\0\0exasock-test-${name}`, "latin1");
}

export interface Passing {
  /** Sends a descriptor; the number that the receiver has for it, -1 if none came. */
  pass(fd: number): Promise<number>;
}

/** A way from one program to another. */
export async function passing(scene: Scene, sender: Calls, receiver: Calls): Promise<Passing> {
  const meeting = unixAddress(`meeting-${process.pid}-${scene.isAccelerated}`);
  const from = await sender.socket("SOCK_DGRAM", "AF_UNIX");
  const to = await receiver.socket("SOCK_DGRAM", "AF_UNIX");
  const at = receiver.libc.put(meeting);
  await receiver.raw("bind", [to, at, meeting.length], "the meeting point");
  const here = sender.libc.put(meeting);
  await sender.raw("connect", [from, here, meeting.length], "the meeting point");
  return {
    async pass(fd) {
      const controls = [{ level: "SOL_SOCKET", type: "SCM_RIGHTS", data: int32(fd) }];
      await sender.sendmsg(from, { data: ["take this"], controls });
      const received = await receiver.recvmsg(to, [20], { controlBytes: 64 });
      return received.descriptors[0] ?? -1;
    },
  };
}
