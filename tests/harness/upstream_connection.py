# SPDX-License-Identifier: Apache-2.0
"""One client's connection to harness.upstream: requests as they come, answers as a Reply says, faults included."""

import asyncio
import json

from harness import upstream_words as words


class Cut(Exception):
    """The reply says that the connection ends here."""


class Seen:
    """One request as it came."""

    def __init__(self, method, path, headers, raw, connection):
        self.method, self.path, self.headers, self.raw, self.connection = method, path, headers, raw, connection
        self.protocol = words.protocol_of(path)
        try:
            self.body = json.loads(raw) if raw else None
        except ValueError:
            self.body = None
        self.stream = isinstance(self.body, dict) and bool(self.body.get("stream"))
        self.left = False
        self.done = False

    @property
    def key(self):
        bearer = self.headers.get("authorization", "")
        return self.headers.get("x-api-key") or (bearer[7:] if bearer.startswith("Bearer ") else None)

    def __repr__(self):
        return f"<{self.method} {self.path} left={self.left} done={self.done}>"


class Connection:
    def __init__(self, owner, reader, writer, number):
        self.owner, self.reader, self.writer, self.number = owner, reader, writer, number
        self.released = None  # set when the request at hand may go on
        self.ahead = b""  # read while an answer was on its way

    async def exchange(self):
        """One request and its answer; whether another may follow."""
        seen = await self.read_request()
        if seen is None:
            return False
        if seen.method == "GET":
            self.owner.probes.append(seen)
            body = words.listing() if self.owner.well else words.error(seen, self.owner.reply(503))
            await self.whole(self.owner.reply(200 if self.owner.well else 503), body, "application/json")
            return True
        # Before anybody can know of the request: who then says release() means this one too, whether it stalls yet or not.
        self.released = self.owner.released
        self.owner.requests.append(seen)
        reply = self.owner.reply_for(seen)
        answer = asyncio.create_task(self.send_answer(seen, reply))
        watch = asyncio.create_task(self.reader.read(65536))
        try:
            await asyncio.wait({answer, watch}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done() and watch.result() == b"":
                seen.left = True
                return False
            if not answer.done():
                await answer
            answer.result()
            seen.done = True
            if reply.close or reply.wire is not None:
                return False
            if not watch.done():
                # The next request, or the end, whichever this connection sees.
                self.ahead += await watch
            else:
                self.ahead += watch.result()
            return self.ahead != b""
        except Cut:
            seen.done = True
            raise
        except ConnectionError:
            seen.left = not seen.done
            raise
        finally:
            for task in (answer, watch):
                task.cancel()

    async def read_until(self, mark):
        while mark not in self.ahead:
            more = await self.reader.read(65536)
            if more == b"":
                return None
            self.ahead += more
        head, _, self.ahead = self.ahead.partition(mark)
        return head

    async def read_exactly(self, count):
        while len(self.ahead) < count:
            more = await self.reader.read(65536)
            if more == b"":
                raise ConnectionError("cut")
            self.ahead += more
        taken, self.ahead = self.ahead[:count], self.ahead[count:]
        return taken

    async def read_request(self):
        head = await self.read_until(b"\r\n\r\n")
        if head is None:
            return None
        first, *lines = head.decode("latin-1").split("\r\n")
        method, path, _ = first.split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if headers.get("expect", "").lower() == "100-continue":
            self.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        raw = b""
        if headers.get("transfer-encoding", "").lower() == "chunked":
            while (size := int(await self.read_until(b"\r\n"), 16)) > 0:
                raw += (await self.read_exactly(size + 2))[:-2]
            await self.read_until(b"\r\n")
        else:
            raw = await self.read_exactly(int(headers.get("content-length", "0")))
        return Seen(method, path, headers, raw, self.number)

    async def point(self, reply, name):
        """A place of an answer where it may stall or be cut."""
        if reply.stall == name:
            await self.writer.drain()
            await self.released.wait()
        if reply.cut == name:
            await self.writer.drain()
            raise Cut

    async def head(self, reply, content_type, length):
        extra = "".join(f"{name}: {value}\r\n" for name, value in reply.headers.items())
        extra += "Connection: close\r\n" if reply.close else ""
        size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
        self.writer.write(
            f"HTTP/1.1 {reply.status} X\r\nContent-Type: {reply.content_type or content_type}\r\n{size}\r\n{extra}\r\n".encode()
        )
        await self.writer.drain()

    async def bytes(self, reply, data):
        for at in range(0, len(data), reply.split or max(1, len(data))):
            self.writer.write(data[at : at + (reply.split or len(data))])
            await self.writer.drain()
            if reply.split:
                await asyncio.sleep(0)

    async def whole(self, reply, body, content_type):
        await self.point(reply, "headers")
        await self.head(reply, content_type, len(body))
        await self.point(reply, "first")
        half = len(body) // 2
        await self.bytes(reply, body[:half])
        await self.point(reply, "middle")
        await self.bytes(reply, body[half:-1])
        await self.point(reply, "end")
        await self.bytes(reply, body[-1:])

    async def event(self, reply, data):
        await self.bytes(reply, b"%x\r\n%s\r\n" % (len(data), data))

    async def send_answer(self, seen, reply):
        if reply.wire is not None:
            self.writer.write(reply.wire)
            await self.writer.drain()
        elif reply.raw is not None:
            await self.whole(reply, reply.raw, "text/event-stream" if seen.stream else "application/json")
        elif reply.status >= 300:
            await self.whole(reply, words.error(seen, reply), "application/json")
        elif not seen.stream:
            await asyncio.sleep(reply.drip)
            await self.whole(reply, words.whole(seen, reply), "application/json")
        else:
            await self.stream(seen, reply)

    async def stream(self, seen, reply):
        await self.point(reply, "headers")
        await self.head(reply, "text/event-stream", None)
        await self.point(reply, "first")
        opening, body, closing = words.events(seen, reply)
        for data in opening:
            await self.event(reply, data)
        for index, data in enumerate(body):
            if index == len(body) // 2:
                if reply.error_event:
                    await self.event(reply, words.error_event(seen, reply))
                    self.writer.write(b"0\r\n\r\n")
                    return
                await self.point(reply, "middle")
            if reply.drip:
                await asyncio.sleep(reply.drip)
            await self.event(reply, data)
        await self.point(reply, "end")
        for data in [] if reply.unfinished else closing:
            await self.event(reply, data)
        self.writer.write(b"0\r\n\r\n")
        await self.writer.drain()
