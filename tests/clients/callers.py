"""Official clients, both sync and async, behind one face; and models that answer as the vendors do."""

import asyncio
import inspect


class Sync:
    def __init__(self, client):
        self.client = client

    def like(self, **options):
        return Sync(self.client.with_options(**options))

    def ask(self, make):
        return make(self.client)

    def iterate(self, make, seen=None):
        """Collect into `seen`, which keeps what came before an exception."""
        seen = [] if seen is None else seen
        seen.extend(make(self.client))
        return seen

    def within(self, make, act):
        with make(self.client) as running:
            return act(running)

    def bytes_of(self, make):
        with make(self.client) as answer:
            return b"".join(answer.iter_bytes())

    def close(self):
        self.client.close()


class Async:
    def __init__(self, client, runner=None):
        self.client = client
        self.runner = runner or asyncio.Runner()

    def like(self, **options):
        return Async(self.client.with_options(**options), self.runner)

    def ask(self, make):
        async def asking():
            return await make(self.client)

        return self.runner.run(asking())

    def iterate(self, make, seen=None):
        seen = [] if seen is None else seen

        async def iterating():
            made = make(self.client)
            async for item in (await made) if inspect.iscoroutine(made) else made:
                seen.append(item)

        self.runner.run(iterating())
        return seen

    def within(self, make, act):
        async def acting():
            async with make(self.client) as running:
                return await act(running)

        return self.runner.run(acting())

    def bytes_of(self, make):
        async def reading():
            async with make(self.client) as answer:
                return b"".join([piece async for piece in answer.iter_bytes()])

        return self.runner.run(reading())

    def close(self):
        self.runner.run(self.client.close())
        self.runner.close()
