"""Returns each datagram reversed, with blocking calls of every kind, until one says quit."""
import socket
import sys

sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind((sys.argv[1], int(sys.argv[2])))
buffer = bytearray(2048)
print("ready", flush=True)
turn = 0
while True:
    if turn % 3 == 0:
        data, sender = sock.recvfrom(2048)
    elif turn % 3 == 1:
        size, sender = sock.recvfrom_into(buffer)
        data = bytes(buffer[:size])
    else:
        data, control, flags, sender = sock.recvmsg(2048, 256)
    turn += 1
    if data == b"quit":
        break
    sock.sendto(data[::-1], sender)
sock.close()
print(f"served {turn}", flush=True)
