"""A thread per datagram answers; between two answers a subprocess runs (by vfork)."""
import socketserver
import subprocess
import sys
import threading


class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        data, sock = self.request
        if data == b"quit":
            threading.Thread(target=server.shutdown).start()
            return
        command = ["/bin/echo", "-n", "echo says", data.decode()]
        answer = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
        sock.sendto(answer, self.client_address)


server = socketserver.ThreadingUDPServer((sys.argv[1], int(sys.argv[2])), Handler)
print("ready", flush=True)
server.serve_forever(poll_interval=0.01)
server.server_close()
print("closed", flush=True)
