"""One end of a TCP transfer that any loss of order or content shows: the data follows from a seed.

`transfer.py listen|connect ADDRESS PORT send|receive BYTES SEED` prints "ready" when it listens,
and at the end the SHA-256 of all that it sent or received. The receiver reads to the end of file.
"""

import hashlib
import random
import socket
import struct
import sys

BLOCK = 256 * 1024


def send(sock, total, seed, digest):
    block = bytearray(random.Random(seed).randbytes(BLOCK))
    for number in range(0, total, BLOCK):
        struct.pack_into("!Q", block, 0, number)
        part = memoryview(block)[: min(BLOCK, total - number)]
        digest.update(part)
        sock.sendall(part)
    sock.shutdown(socket.SHUT_WR)
    # The receiver closes when it has everything.
    if sock.recv(1):
        sys.exit("data from the receiver")


def receive(sock, digest):
    buffer = bytearray(BLOCK)
    total = 0
    while count := sock.recv_into(buffer):
        digest.update(memoryview(buffer)[:count])
        total += count
    return total


def main(way, address, port, role, total, seed):
    if way == "listen":
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, int(port)))
        listener.listen(1)
        print("ready", flush=True)
        sock = listener.accept()[0]
    else:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.connect((address, int(port)))
    digest = hashlib.sha256()
    count = int(total)
    if role == "send":
        send(sock, count, seed, digest)
    else:
        count = receive(sock, digest)
    print(count, digest.hexdigest(), flush=True)


main(*sys.argv[1:])
