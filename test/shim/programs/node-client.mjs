// Asks an echo server a number of questions, all at once, and prints the answers in order.
import { createSocket } from "node:dgram";

const [address, port, count] = process.argv.slice(2);
const socket = createSocket("udp4");
const answers = [];
socket.on("message", (data) => {
  answers.push(data.toString());
  if (answers.length < Number(count)) return;
  for (const answer of answers) console.log(answer);
  socket.send("quit", () => socket.close());
});
socket.connect(Number(port), address, () => {
  for (let i = 0; i < Number(count); i++) socket.send(`question ${i}`);
});
