"""Sixteen connections at a time store and read values in memcached's text protocol."""

import hashlib
import socket
import sys
import threading

CONNECTIONS = 16
KEYS = 100
results = [None] * CONNECTIONS


def value_of(number, key):
    return (f"{number}-{key}-" * (1 + key * 7)).encode()


def talk(number):
    sock = socket.create_connection((sys.argv[1], int(sys.argv[2])))
    stream = sock.makefile("rb")
    digest = hashlib.sha256()
    for key in range(KEYS):
        value = value_of(number, key)
        sock.sendall(b"set k%d-%d 0 0 %d\r\n%s\r\n" % (number, key, len(value), value))
        digest.update(stream.readline())
    for key in range(KEYS):
        sock.sendall(b"get k%d-%d\r\n" % (number, key))
        header = stream.readline()
        value = stream.read(int(header.split()[3]))
        if value != value_of(number, key):
            sys.exit("another value")
        digest.update(header + value + stream.readline() + stream.readline())
    names = b" ".join(b"k%d-%d" % (number, key) for key in range(KEYS))
    sock.sendall(b"get " + names + b"\r\n")
    while not (line := stream.readline()).startswith(b"END"):
        digest.update(line)
    sock.sendall(b"quit\r\n")
    digest.update(stream.read())
    results[number] = digest.hexdigest()


threads = [threading.Thread(target=talk, args=(number,)) for number in range(CONNECTIONS)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("\n".join(str(result) for result in results))
