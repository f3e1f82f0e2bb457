"""Two sockets and standard input in one selector; answers say which socket it was."""
import selectors
import socket
import sys

address, port = sys.argv[1], int(sys.argv[2])
selector = getattr(selectors, sys.argv[3])()
for number in (port, port + 1):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((address, number))
    sock.setblocking(False)
    selector.register(sock, selectors.EVENT_READ, number - port)
selector.register(sys.stdin, selectors.EVENT_READ, "input")
print("ready", flush=True)
running = True
while running:
    for key, events in selector.select():
        if key.data == "input":
            line = sys.stdin.readline().strip()
            print(f"typed {line}", flush=True)
            running = line != "quit"
            continue
        data, sender = key.fileobj.recvfrom(2048)
        key.fileobj.sendto(b"socket %d: %s" % (key.data, data), sender)
