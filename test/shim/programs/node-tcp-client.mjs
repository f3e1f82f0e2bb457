// node-tcp-client.mjs ADDRESS PORT: connections at a time, small questions, large ones, and an end.

import { createHash } from "node:crypto";
import { connect } from "node:net";

const [host, port] = process.argv.slice(2);
const CONNECTIONS = 20;
const QUESTIONS = 100;
const LARGE_BYTES = 8 << 20;

/** What comes back for the data, which is sent in one go, with the connection half closed. */
function exchange(data) {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port: Number(port), allowHalfOpen: true });
    const parts = [];
    socket.on("error", reject);
    socket.on("data", (part) => parts.push(part));
    socket.on("end", () => resolve(Buffer.concat(parts)));
    socket.end(data);
  });
}

/** Questions that each wait for the answer to the one before. */
function ask(number) {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port: Number(port), noDelay: true });
    let asked = 0;
    let text = "";
    const next = () => socket.write(`question ${asked++} of ${number}\n`);
    socket.on("error", reject);
    socket.on("connect", next);
    socket.on("data", (part) => {
      text += part;
      if (!text.endsWith("\n")) return;
      if (asked < QUESTIONS) next();
      else socket.end();
    });
    socket.on("close", () => resolve(createHash("sha256").update(text).digest("hex")));
  });
}

const digests = await Promise.all(Array.from({ length: CONNECTIONS }, (_, i) => ask(i)));
console.log(digests.join("\n"));
const large = Buffer.alloc(LARGE_BYTES, "some text that is longer than a word; ");
const back = await exchange(large);
console.log(back.length, back.equals(large) ? "the same" : "other bytes");
console.log((await exchange("!")).toString());
