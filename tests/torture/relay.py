#!/usr/bin/env python3
"""TCP relays between members, each direction of which can be cut.

    relay.py N PORT...        N*N listening ports (from I to J at I*N+J), then the N members' real peer ports

Commands on standard input: `cut I J` (bytes from I to J do not arrive any more), `heal` (all).  A cut direction is a black
hole as a network's: nothing is read, nothing is reset, connections that are made meanwhile hang."""

import asyncio
import sys


class Relay:
    def __init__(self, n, ports):
        self.n = n
        self.listen, self.real = ports[:n * n], ports[n * n:]
        self.open = {(i, j): asyncio.Event() for i in range(n) for j in range(n)}
        self.heal()

    def heal(self):
        for e in self.open.values():
            e.set()

    async def pump(self, reader, writer, way):
        try:
            while True:
                await way.wait()
                data = await reader.read(65536)
                await way.wait()
                if not data:
                    break
                writer.write(data)
                await writer.drain()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def accept(self, i, j, reader, writer):
        await self.open[(i, j)].wait()
        await self.open[(j, i)].wait()
        try:
            r2, w2 = await asyncio.open_connection("127.0.0.1", self.real[j])
        except OSError:
            writer.close()
            return
        await asyncio.gather(self.pump(reader, w2, self.open[(i, j)]), self.pump(r2, writer, self.open[(j, i)]))

    async def run(self):
        for i in range(self.n):
            for j in range(self.n):
                if i != j:
                    await asyncio.start_server(lambda r, w, i=i, j=j: self.accept(i, j, r, w), "127.0.0.1",
                                               self.listen[i * self.n + j])
        print("ready", flush=True)
        loop = asyncio.get_running_loop()
        while True:
            line = await loop.run_in_executor(None, sys.stdin.readline)
            words = line.split()
            if not line:
                return
            if words[:1] == ["cut"]:
                self.open[(int(words[1]), int(words[2]))].clear()
            elif words[:1] == ["heal"]:
                self.heal()
            print("done", flush=True)


if __name__ == "__main__":
    asyncio.run(Relay(int(sys.argv[1]), [int(x) for x in sys.argv[2:]]).run())
