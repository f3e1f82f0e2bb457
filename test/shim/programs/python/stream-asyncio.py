"""The same echo server by asyncio's streams: `stream-asyncio.py ADDRESS PORT COUNT`."""
import asyncio
import sys

address, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


async def main():
    done = asyncio.Event()
    totals = [0, 0]

    async def serve(reader, writer):
        while data := await reader.read(65536):
            writer.write(data)
            totals[1] += len(data)
            await writer.drain()
        writer.close()
        totals[0] += 1
        if totals[0] == count:
            done.set()

    server = await asyncio.start_server(serve, address, port, backlog=count)
    print("ready", flush=True)
    async with server:
        await done.wait()
    print(f"{totals[0]} connections, {totals[1]} bytes", flush=True)


asyncio.run(main())
