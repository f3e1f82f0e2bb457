// Returns every datagram in capitals; ends when one says quit.
import { createSocket } from "node:dgram";

const [address, port] = process.argv.slice(2);
const socket = createSocket("udp4");
let ticks = 0;
const timer = setInterval(() => ticks++, 5);
socket.on("message", (data, sender) => {
  if (data.toString() !== "quit") {
    socket.send(data.toString().toUpperCase(), sender.port, sender.address);
    return;
  }
  clearInterval(timer);
  socket.close(() => console.log("closed"));
});
socket.bind(Number(port), address, () => console.log("ready"));
