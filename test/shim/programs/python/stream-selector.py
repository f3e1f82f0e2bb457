"""An echo server for many connections in one selector: `stream-selector.py ADDRESS PORT KIND COUNT`.
Ends when COUNT connections were closed."""
import selectors
import socket
import sys

address, port, kind, count = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
selector = getattr(selectors, kind)()
listener = socket.create_server((address, port), backlog=count)
listener.setblocking(False)
selector.register(listener, selectors.EVENT_READ)
print("ready", flush=True)
closed = echoed = 0
waiting = {}
while closed < count:
    for key, events in selector.select():
        if key.fileobj is listener:
            connection, _ = listener.accept()
            connection.setblocking(False)
            waiting[connection] = b""
            selector.register(connection, selectors.EVENT_READ)
            continue
        connection = key.fileobj
        if events & selectors.EVENT_READ:
            data = connection.recv(65536)
            if not data:
                selector.unregister(connection)
                connection.close()
                closed += 1
                continue
            waiting[connection] += data
        try:
            sent = connection.send(waiting[connection])
        except BlockingIOError:
            sent = 0
        echoed += sent
        waiting[connection] = waiting[connection][sent:]
        # Reads on only when everything is sent.
        wanted = selectors.EVENT_WRITE if waiting[connection] else selectors.EVENT_READ
        if key.events != wanted:
            selector.modify(connection, wanted)
print(f"{closed} connections, {echoed} bytes", flush=True)
