// node-tcp-server.mjs ADDRESS PORT: sends back what comes, to the end of each connection; ends when
// a connection's first byte is an exclamation mark.

import { createServer } from "node:net";

const [address, port] = process.argv.slice(2);
let connections = 0;
let bytes = 0;

const server = createServer({ allowHalfOpen: true }, (socket) => {
  connections++;
  socket.once("data", (first) => {
    if (first.toString()[0] === "!") server.close();
  });
  socket.on("data", (part) => {
    bytes += part.length;
    if (!socket.write(part)) socket.pause();
  });
  socket.on("drain", () => socket.resume());
  socket.on("end", () => socket.end());
});
server.on("close", () => console.log(`${connections} connections, ${bytes} bytes`));
server.listen(Number(port), address, () => console.log("ready"));
