"""Numbered datagrams. `send ADDRESS` sends those that each line of input names (FIRST END); `receive
ADDRESS` answers each line with how many have come, and the end of the input with their numbers in
the order of their arrival."""

import socket
import struct
import sys
import threading

PORT = 7007
BYTES = 200
SO_RCVBUFFORCE = 33


def send(address):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect((address, PORT))
    for line in sys.stdin:
        for number in range(*map(int, line.split())):
            sock.send(struct.pack("!I", number).ljust(BYTES))


def receive(address):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
    sock.bind((address, PORT))
    numbers = []

    def collect():
        while True:
            numbers.append(struct.unpack_from("!I", sock.recv(BYTES))[0])

    threading.Thread(target=collect, daemon=True).start()
    print("ready", flush=True)
    for _ in sys.stdin:
        print(len(numbers), flush=True)
    print(*numbers, flush=True)


{"send": send, "receive": receive}[sys.argv[1]](sys.argv[2])
