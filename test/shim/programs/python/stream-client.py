"""COUNT connections at once, each with BYTES there and back, compared: `stream-client.py ADDRESS
PORT COUNT BYTES`."""
import asyncio
import hashlib
import sys

address, port, count, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])


async def talk(number):
    content = hashlib.shake_128(b"%d" % number).digest(size)
    reader, writer = await asyncio.open_connection(address, port)

    async def ask():
        for at in range(0, size, 10000):
            writer.write(content[at:at + 10000])
            await writer.drain()
        writer.write_eof()

    _, answer = await asyncio.gather(ask(), reader.read())
    writer.close()
    return answer == content


async def main():
    results = await asyncio.gather(*(talk(number) for number in range(count)))
    print(f"{sum(results)} of {count} came back as they were")


asyncio.run(main())
