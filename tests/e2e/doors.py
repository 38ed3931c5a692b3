"""Doors before the scripted upstream: a proxy that wants a password, and one that speaks TLS."""

import asyncio
import base64
import ssl
import threading
from contextlib import contextmanager
from urllib.parse import urlsplit


class Door:
    """Leads everybody to one port, whatever address they name. `asked` holds what a proxy was asked for."""

    def __init__(self, leads_to, passage, context=None):
        self.leads_to = leads_to
        self.passage = passage
        self.asked = []
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(lambda loop, context: None)
        self.server = self.loop.run_until_complete(asyncio.start_server(self.open, "127.0.0.1", 0, ssl=context))
        self.port = self.server.sockets[0].getsockname()[1]
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()

    async def open(self, reader, writer):
        try:
            await self.passage(self, reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            # Broken connections are what the tests are about; the gateway's answer is what is checked.
            pass
        finally:
            writer.close()

    async def lead(self, reader, writer, onward=None):
        """`onward` carries what comes in; without it bytes are carried as they are."""
        beyond_reader, beyond_writer = await asyncio.open_connection("127.0.0.1", self.leads_to)
        onward = onward or carry(reader)
        await asyncio.gather(onward(beyond_writer), carry(beyond_reader)(writer))

    def close(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.server.close()
        if tasks := asyncio.all_tasks(self.loop):
            for task in tasks:
                task.cancel()
            self.loop.run_until_complete(asyncio.wait(tasks))
        self.loop.close()


def carry(reader):
    async def carrying(writer):
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()

    return carrying


async def tls_passage(door, reader, writer):
    await door.lead(reader, writer)


def proxy_passage(wanted):
    def read(head):
        line, *headers = head.decode("latin-1").split("\r\n")[:-2]
        shown = [h.partition(":")[2].strip() for h in headers if h.lower().startswith("proxy-authorization:")]
        return line, headers, shown == [wanted]

    def rewriting(reader, head):
        """Plain requests name the whole address, each on a connection that is kept: rewrite all of them."""

        async def onward(writer):
            nonlocal head
            try:
                while True:
                    line, headers, _ = read(head)
                    method, target, version = line.split(" ")
                    kept = [h for h in headers if not h.lower().startswith("proxy-")]
                    lines = [f"{method} {urlsplit(target).path} {version}", *kept, "", ""]
                    writer.write("\r\n".join(lines).encode("latin-1"))
                    size = [int(h.partition(":")[2]) for h in headers if h.lower().startswith("content-length:")]
                    writer.write(await reader.readexactly(sum(size)))
                    head = await reader.readuntil(b"\r\n\r\n")
            finally:
                writer.close()

        return onward

    async def passage(door, reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        line, _, known = read(head)
        door.asked.append(line)
        if not known:
            writer.write(
                b'HTTP/1.1 407 Who are you\r\nproxy-authenticate: Basic realm="x"\r\n'
                b"content-length: 0\r\nconnection: close\r\n\r\n"
            )
        elif line.startswith("CONNECT "):
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await door.lead(reader, writer)
        else:
            await door.lead(reader, writer, rewriting(reader, head))

    return passage


@contextmanager
def opened(door):
    try:
        yield door
    finally:
        door.close()


def proxying(leads_to, user, password):
    wanted = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    return opened(Door(leads_to, proxy_passage(wanted)))


def securing(leads_to, certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return opened(Door(leads_to, tls_passage, context))
