"""Sends numbered datagrams to a port without end, refused or not; the pace is datagrams per second."""
import socket
import sys
import time

target = (sys.argv[1], int(sys.argv[2]))
pace = int(sys.argv[3])
burst = 50
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
number = 0
next_burst = time.monotonic()
while True:
    for _ in range(burst):
        sock.sendto(b"%d" % number, target)
        number += 1
    next_burst += burst / pace
    time.sleep(max(0, next_burst - time.monotonic()))
