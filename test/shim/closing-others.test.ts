// Descriptors that one thread closes, or replaces, while another one waits in a call for them. The
// call holds the socket: it ends as if the descriptor were still there, and the socket after it.

import { until } from "../../src/lab/program.ts";
import { ANY_ADDRESS, conversation, type Endpoint, MOMENT_MILLIS } from "../support/builders.ts";
import { poll } from "../support/readiness.ts";
import { scenario } from "../support/scenario.ts";
import { listening, serves } from "../support/tcp.ts";

const MODES = ["spin", "sleep", "adaptive"];
/** close(2), or dup2(2) of something else over it. */
const WAYS = ["close", "dup2"] as const;

/** Waits until the datagrams of a connected socket are refused. */
function portToClose({ calls, fd }: Endpoint): Promise<void> {
  return until("the port to be closed", async () => {
    await calls.untold.send(fd, "gone?");
    return (await calls.untold.recv(fd, 10, "MSG_DONTWAIT")).error === "ECONNREFUSED";
  });
}

for (const mode of MODES) {
  const launcher = [`--wait=${mode}`];
  for (const way of WAYS) {
    scenario(
      `${way} under a recvfrom that waits: ${mode}`,
      async (scene) => {
        const [a, p] = await conversation(scene);
        const [other] = await a.calls.socketpair();
        const waiting = a.calls.inThread.recvfrom(a.fd);
        await poll(a.calls, [], MOMENT_MILLIS);
        if (way === "close") await a.calls.close(a.fd);
        else await a.calls.dup2(other, a.fd);
        await p.calls.sendto(p.fd, "still there", a.at);
        await waiting;
        await p.calls.connect(p.fd, a.at);
        await portToClose(p);
      },
      { launcher },
    );

    scenario(
      `${way} under a recv that waits: ${mode}`,
      async (scene) => {
        const { subject, peer } = await serves(scene);
        const { calls, fd } = subject;
        const [other] = await calls.socketpair();
        const waiting = calls.inThread.recv(fd);
        await poll(calls, [], MOMENT_MILLIS);
        if (way === "close") await calls.close(fd);
        else await calls.dup2(other, fd);
        await peer.calls.send(peer.fd, "still there");
        await waiting;
        await peer.calls.recv(peer.fd);
      },
      { launcher },
    );
  }

  scenario(
    `a fork while only a recvfrom that waits has the socket: ${mode}`,
    async (scene) => {
      const [a, p] = await conversation(scene);
      const [sign, signal] = await a.calls.socketpair();
      const waiting = a.calls.inThread.recvfrom(a.fd);
      await poll(a.calls, [], MOMENT_MILLIS);
      await a.calls.close(a.fd);
      const { pid, replies } = await a.calls.fork((child) => child.recv(sign));
      await p.calls.sendto(p.fd, "still there", a.at);
      await waiting;
      await p.calls.connect(p.fd, a.at);
      await portToClose(p);
      await a.calls.send(signal, "exit");
      await replies;
      await a.calls.waitpid(pid);
    },
    { launcher },
  );

  scenario(
    `close under an accept that waits: ${mode}`,
    async (scene) => {
      const [subject, peer] = [await scene.subject(), await scene.peer()];
      const listener = await listening(subject, ANY_ADDRESS);
      const at = { address: scene.left.address, port: listener.at.port };
      // Linux takes the new number before it waits; which one that is does not matter.
      const waiting = subject.inThread.untold.make("accept", [listener.fd, 0, 0], "the listener");
      await poll(subject, [], MOMENT_MILLIS);
      await subject.close(listener.fd);
      const fd = await peer.socket("SOCK_STREAM");
      await peer.connect(fd, at);
      const accepted = await waiting;
      await subject.untold.send(accepted.result, "welcome");
      await peer.recv(fd);
      const late = await peer.socket("SOCK_STREAM");
      await peer.expecting("ECONNREFUSED").connect(late, at);
    },
    { launcher },
  );
}
