// Run inside a network namespace by the tests: sends the requests given as arguments to the
// exasockd there, in one connection, and prints each answer as a line. `hold` keeps it open until
// standard input ends.

import { controlAddress } from "../../src/cli/control-client.ts";
import { check, native, watch } from "../../src/daemon/native.ts";

const AF_UNIX = 1;
const SOCK_SEQPACKET = 5;
const REPLY_BYTES_MAX = 1 << 20;

const requests = process.argv.slice(2);
const fd = check(native().socket(AF_UNIX, SOCK_SEQPACKET, 0), "socket");
check(native().connect(fd, controlAddress("default")), "connect");
const buffer = Buffer.alloc(REPLY_BYTES_MAX);

function next(): void {
  const request = requests.shift();
  if (request === undefined) process.exit(0);
  if (request === "hold") process.stdin.on("end", () => process.exit(0)).resume();
  else check(native().send(fd, Buffer.from(request), [], null), "send");
}

watch(fd, () => {
  const length = native().receive(fd, buffer, 0);
  if (length === 0) {
    console.log("hung up");
    process.exit(0);
  }
  if (length < 0) return;
  console.log(buffer.toString("utf8", 0, length).trimEnd());
  next();
});
next();
