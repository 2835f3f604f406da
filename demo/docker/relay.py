"""A node that can be killed without its documents: passes each connection on to the store behind it.

`python3 -m docker.relay LISTEN_PORT HOST:PORT`
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

CHUNK = 64 * 1024


async def serve(port: int, host: str, target: int) -> None:
    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            onward, back = await asyncio.open_connection(host, target)
        except OSError:
            writer.close()
            return
        await asyncio.gather(copy(reader, back), copy(onward, writer))

    server = await asyncio.start_server(relay, "0.0.0.0", port)  # noqa: S104  A container's own address.
    print(f"ready {port}", flush=True)
    async with server:
        await server.serve_forever()


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
    writer.close()


if __name__ == "__main__":
    host, _, target = sys.argv[2].rpartition(":")
    asyncio.run(serve(int(sys.argv[1]), host, int(target)))
