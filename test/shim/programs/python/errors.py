"""What a client sees: a refused datagram, a timeout, a connection, a second life."""
import socket
import sys

address, port = sys.argv[1], int(sys.argv[2])
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.settimeout(0.05)
try:
    sock.recv(10)
except TimeoutError as error:
    print("timeout:", error)
sock.settimeout(2)
sock.connect((address, port + 1))
sock.send(b"anybody there?")
try:
    sock.recv(10)
except ConnectionRefusedError as error:
    print("refused:", error.strerror)
sock.connect((address, port))
for size in (1, 100, 1400):
    sock.send(b"x" * size)
    print("answer of", len(sock.recv(2048)))
print("peer is the server:", sock.getpeername() == (address, port))
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
    other.sendto(b"quit", (address, port))
