#!/usr/bin/env python3
"""A line to a server of this machine that is far away: a proxy that adds latency and limits the rate.

  proxy.py HOST:PORT [--round-trip-ms 50] [--mbit 200] [--trace]

It listens on a port of loopback that the system chooses and prints it. Each line on standard input
is answered with one of JSON: what passed since the last one (connections, bytes each way, requests of HTTP/1.1 by method).
With --trace it tells the moment of each request and of each first byte of an answer on standard error.

The line, as it is modelled:
- Each byte comes out half a round trip after the line has taken it, in order; others are on their way meanwhile.
  No window limits what is under way (the limit here, WINDOW, is three times what the line holds).
- Each direction takes so many bits a second, of all connections together. Connections that have something to send take
  turns (fair queueing), so a small request does not wait for a large one's bytes.
- A connection costs a round trip before its first byte goes out, as TCP's does; slow start and loss are not there.
"""
import argparse, asyncio, collections, json, os, socket, sys, time

PORTION = 32 << 10   # bytes that are taken from one connection at a time
BACKLOG = 256 << 10  # bytes of a connection that wait for the line, at most: then its sender waits
WINDOW = 4 << 20     # bytes of a connection that are under way, at most

class Direction:
    """One way of the line, for all connections."""
    def __init__(s, rate, delay):
        s.rate, s.delay, s.bytes = rate, delay, 0
        s.waiting = collections.deque()  # flows with bytes that the line has not taken
        s.wake, s.free = asyncio.Event(), 0.0

    async def run(s):
        loop = asyncio.get_running_loop()
        while True:
            if not s.waiting:
                s.wake.clear()
                await s.wake.wait()
            now = loop.time()
            # A timer is late by up to a millisecond or two: what the line could have taken meanwhile it takes at once.
            s.free = max(s.free, now - 0.004)
            while s.waiting and s.free <= now:
                flow = s.waiting.popleft()
                data = flow.take()
                if flow.queued:
                    s.waiting.append(flow)
                s.bytes += len(data)
                s.free += len(data) / s.rate
                flow.on_its_way(max(s.free, now) + s.delay, data)
            if s.waiting:
                await asyncio.sleep(max(0.0, s.free - loop.time()))

class Flow:
    """The bytes of one connection in one direction."""
    def __init__(s, direction, reader, writer, heard):
        s.direction, s.reader, s.writer, s.heard = direction, reader, writer, heard
        s.queue, s.queued, s.under_way, s.pending = collections.deque(), 0, 0, collections.deque()
        s.room, s.news, s.ended = asyncio.Event(), asyncio.Event(), False
        s.room.set()

    def take(s):
        data = s.queue.popleft()
        if len(data) > PORTION:
            s.queue.appendleft(data[PORTION:])
            data = data[:PORTION]
        s.queued -= len(data)
        s.let_in()
        return data

    def on_its_way(s, when, data):
        s.under_way += len(data)
        s.pending.append((when, data))
        s.news.set()

    def let_in(s):
        if s.queued < BACKLOG and s.under_way < WINDOW: s.room.set()
        else: s.room.clear()

    async def read(s):
        try:
            while data := await s.reader.read(PORTION * 4):
                s.heard(data)
                s.queue.append(memoryview(data)); s.queued += len(data)
                if s.queued == len(data): s.direction.waiting.append(s); s.direction.wake.set()
                s.let_in()
                await s.room.wait()
        except ConnectionError: pass
        while s.queued: await asyncio.sleep(0.001)
        s.ended = True; s.news.set()

    async def write(s):
        loop, last = asyncio.get_running_loop(), 0.0
        try:
            while True:
                while not s.pending:
                    if s.ended:
                        # The end takes as long as a byte.
                        await asyncio.sleep(s.direction.delay if not last else max(0.0, last - loop.time()))
                        if s.writer.can_write_eof(): s.writer.write_eof()
                        return
                    s.news.clear()
                    await s.news.wait()
                when, data = s.pending.popleft()
                if (wait := when - loop.time()) > 0.0005: await asyncio.sleep(wait)
                s.writer.write(data); last = when
                await s.writer.drain()
                s.under_way -= len(data); s.let_in()
        except (ConnectionError, RuntimeError): pass

class Heads:
    """Finds the requests in what a client of HTTP/1.1 sends."""
    def __init__(s, each): s.each, s.head, s.skip, s.chunked, s.off = each, b"", 0, False, False
    def hear(s, data):
        while data and not s.off:
            if s.skip:
                step = min(s.skip, len(data)); s.skip -= step; data = data[step:]; continue
            s.head += data; data = b""
            end = s.head.find(b"\r\n\r\n")
            if end < 0:
                if len(s.head) > 65536 or not s.head[:1].isalpha() or s.head.startswith((b"SSH-", b"PRI ")): s.off = True
                return
            head, data, s.head = s.head[:end], s.head[end + 4:], b""
            lines = head.decode("latin-1").split("\r\n")
            fields = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
            s.skip = int(fields.get("content-length", 0))
            if "chunked" in fields.get("transfer-encoding", ""): s.off = True
            s.each(lines[0])

class Proxy:
    def __init__(s, a):
        s.host, _, port = a.to.rpartition(":"); s.port = int(port)
        s.rtt, rate = a.round_trip_ms / 1000, a.mbit * 1e6 / 8
        s.up, s.down = Direction(rate, s.rtt / 2), Direction(rate, s.rtt / 2)
        s.connections, s.requests, s.trace, s.start = 0, collections.Counter(), a.trace, time.monotonic()

    def tell(s, number, text):
        if s.trace: print(f"{(time.monotonic() - s.start) * 1000:9.0f} ms  {number:3}  {text}", file=sys.stderr, flush=True)

    async def connection(s, reader, writer):
        s.connections += 1
        number = s.connections
        nodelay(writer)
        s.tell(number, "connection")
        # The first byte may go when the other side's word is here, and that side knows us when it gets there.
        await asyncio.sleep(s.rtt * 1.5)
        try: far_reader, far_writer = await asyncio.open_connection(s.host, s.port)
        except OSError:
            writer.close(); return
        nodelay(far_writer)
        asked = [None]
        def request(line):
            s.requests[line.split(" ")[0]] += 1; asked[0] = line
            s.tell(number, line)
        def answer(_):
            if asked[0]: s.tell(number, "answer to " + asked[0])
            asked[0] = None
        # Bytes that the client sent while the connection came about are there already: they have no other half round trip.
        up = Flow(s.up, reader, far_writer, Heads(request).hear)
        down = Flow(s.down, far_reader, writer, answer)
        first = Early(s.up, s.rtt / 2)
        up.direction = first
        await asyncio.gather(first.run(up), up.read(), up.write(), down.read(), down.write())
        for each in (writer, far_writer): each.close()

    def said(s):
        told = dict(connections=s.connections, up=s.up.bytes, down=s.down.bytes, requests=dict(s.requests))
        s.connections, s.up.bytes, s.down.bytes = 0, 0, 0; s.requests.clear()
        return json.dumps(told)

class Early:
    """The way up for a connection that has just come about: its first bytes left half a round trip ago."""
    def __init__(s, direction, ahead): s.direction, s.ahead, s.delay, s.waiting, s.wake = direction, ahead, direction.delay, collections.deque(), asyncio.Event()
    async def run(s, flow):
        # What is there now is of before; after that the flow is as others.
        try: await asyncio.wait_for(s.wake.wait(), 0.005)
        except TimeoutError: pass
        now = asyncio.get_running_loop().time()
        if s.waiting:
            data = flow.take(); s.direction.bytes += len(data); flow.on_its_way(now, data)
        flow.direction = s.direction
        if flow.queued: s.direction.waiting.append(flow); s.direction.wake.set()

def nodelay(writer):
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    writer.transport.set_write_buffer_limits(high=1 << 20)

async def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("to"); ap.add_argument("--round-trip-ms", type=float, default=50); ap.add_argument("--mbit", type=float, default=200); ap.add_argument("--trace", action="store_true")
    proxy = Proxy(ap.parse_args())
    server = await asyncio.start_server(proxy.connection, "127.0.0.1", 0, limit=1 << 20)
    print(server.sockets[0].getsockname()[1], flush=True)
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    ways = [asyncio.create_task(way.run()) for way in (proxy.up, proxy.down)]
    while await lines.readline(): print(proxy.said(), flush=True)
    # Nobody waits for what is still under way.
    os._exit(0 if ways else 1)

if __name__ == "__main__":
    asyncio.run(main())
