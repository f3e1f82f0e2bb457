// The kernel's settings of TCP hold for connections of the stack, too.

import { until } from "../../src/lab/program.ts";
import { scenario } from "../support/scenario.ts";
import { accept, listening, tcpInfo } from "../support/tcp.ts";

/** In struct tcp_info, and TCPI_OPT_ECN. */
const OPTIONS_OFFSET = 5;
const OPTION_ECN = 8;

scenario(
  "net.ipv4.tcp_ecn makes new connections ask for congestion marks",
  async (scene) => {
    const [subject, peer] = [await scene.subject(), await scene.peer()];
    const listener = await listening(peer, scene.right.address);
    const isMarked = async () => {
      const fd = await subject.untold.socket("SOCK_STREAM");
      await subject.untold.connect(fd, listener.at);
      const accepted = await accept(peer.untold, listener.fd);
      const options = (await tcpInfo(subject, fd))[OPTIONS_OFFSET] ?? 0;
      await subject.untold.close(fd);
      await peer.untold.close(accepted);
      return (options & OPTION_ECN) !== 0;
    };
    subject.note(`ECN at first: ${await isMarked()}`);
    await scene.left.run(["sh", "-c", "echo 1 > /proc/sys/net/ipv4/tcp_ecn"]);
    await until("a connection with ECN", isMarked);
  },
  { bypass: { connections: 2 } },
);
