"""Numbered datagrams: `send ADDRESS COUNT BURST MICROS` from stdin's go, `receive ADDRESS` until
the input ends, then the numbers in the order of their arrival."""

import socket
import struct
import sys
import threading
import time

PORT = 7007
BYTES = 200


def send(address, count, burst, micros):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect((address, PORT))
    began = time.monotonic()
    for number in range(count):
        sock.send(struct.pack("!I", number).ljust(BYTES))
        while number % burst == 0 and time.monotonic() < began + number * micros / 1e6:
            pass
    print(time.monotonic() - began)


def receive(address):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
    sock.bind((address, PORT))
    numbers = []

    def collect():
        while True:
            numbers.append(struct.unpack_from("!I", sock.recv(BYTES))[0])

    threading.Thread(target=collect, daemon=True).start()
    print("ready", flush=True)
    for _ in sys.stdin:
        print(*numbers, flush=True)


if sys.argv[1] == "send":
    send(sys.argv[2], *(int(text) for text in sys.argv[3:]))
else:
    receive(sys.argv[2])
