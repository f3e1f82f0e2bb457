"""An asyncio datagram endpoint with a timer beside it."""
import asyncio
import sys


class Echo(asyncio.DatagramProtocol):
    def __init__(self, done):
        self.done = done

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, sender):
        if data == b"quit":
            self.done.set_result(None)
        else:
            self.transport.sendto(data.upper(), sender)


async def main():
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    ticks = 0

    def tick():
        nonlocal ticks
        ticks += 1
        loop.call_later(0.005, tick)

    local = (sys.argv[1], int(sys.argv[2]))
    transport, _ = await loop.create_datagram_endpoint(lambda: Echo(done), local_addr=local)
    tick()
    print("ready", flush=True)
    await done
    transport.close()
    print("the timer ran" if ticks > 0 else "no timer", flush=True)


asyncio.run(main())
