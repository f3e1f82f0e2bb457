"""A server whose connection is shared with a child: `ends-unheard.py ADDRESS`. Each line of input is a
step: the child is made and the server closes its descriptor; the child exits, which closes the last."""

import os
import socket
import sys

listener = socket.create_server((sys.argv[1], 0))
print("port", listener.getsockname()[1], flush=True)
connection, _ = listener.accept()
print("accepted", flush=True)
sys.stdin.readline()
reading, writing = os.pipe()
if os.fork() == 0:
    os.close(writing)
    os.read(reading, 1)
    os._exit(0)
connection.close()
print("forked", flush=True)
sys.stdin.readline()
os.close(writing)
os.wait()
print("ended", flush=True)
sys.stdin.readline()
