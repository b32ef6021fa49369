"""The network between the processes and Valkey, which can be cut."""

import asyncio
import threading
from contextlib import suppress
from types import TracebackType


class Wire:
    """Forwards connections from a port of its own; while it is cut, nothing passes.

    As with a cable that is pulled, nobody is told: what was sent arrives when it is plugged in
    again, if anybody still waits for it.

    Args:
        target: the port of loopback that it leads to.

    Attributes:
        port: of its own.
    """

    def __init__(self, target: int) -> None:
        self.port = 0
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._whole = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> "Wire":
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self) -> None:
        """Let nothing pass."""
        self._loop.call_soon_threadsafe(self._whole.clear)

    def mend(self) -> None:
        """Let everything pass again."""
        self._loop.call_soon_threadsafe(self._whole.set)

    async def _start(self) -> None:
        self._whole.set()
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):  # whichever end breaks, the other is told by its own end
            await self._whole.wait()
            there = await asyncio.open_connection("127.0.0.1", self._target)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._pass(reader, there[1]))
                    group.create_task(self._pass(there[0], writer))
            except* OSError:
                pass
            finally:
                there[1].close()
                writer.close()
            return
        writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(2**16):
            await self._whole.wait()
            writer.write(data)
            await writer.drain()
        writer.close()
