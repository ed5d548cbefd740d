"""The run's Unix socket: agents' events in, viewers' commands in, commands for the agents out.

Any process of this user may connect, so nothing that arrives is trusted: a peer that sends garbage, too long a line or
another's event types costs its own connection or its own message, and is counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Callable
from typing import Any

from tfgpu_tui.core import events
from tfgpu_tui.core.events import Event
from tfgpu_tui.core.validate import misfit
from tfgpu_tui.supervisor.listening import peer_uid

MAX_LINE_BYTES = 1 << 20
MAX_CONNECTIONS = 512
FROM_AGENTS = frozenset(event.type for event in events.ALL_EVENTS if "agent" in event.senders)
"""What an agent may say; samples and the life of the run are the supervisor's own."""


class Server:
    """Who is connected, and what is done with what they send."""

    def __init__(
        self,
        on_event: Callable[[Event], bool],
        on_command: Callable[[dict[str, Any]], dict[str, Any] | None],
        on_refused: Callable[[str], None],
    ) -> None:
        """`on_command` returns what its answer says besides `ok`, and raises ValueError, with a sentence for the
        viewer, where a command makes no sense; `on_refused` is told why something was not taken."""
        self._on_event = on_event
        self._on_command = on_command
        self._on_refused = on_refused
        self._agents: dict[asyncio.StreamWriter, bool] = {}
        """Agents' connections; True for the script's own process."""
        self._handlers: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def serve(self, listener: socket.socket) -> None:
        """Starts taking connections from this socket, and no more from an earlier one; returns at once."""
        if self._server is not None:
            self._server.close()
        self._server = await asyncio.start_unix_server(self._connected, sock=listener, limit=MAX_LINE_BYTES)

    @property
    def main_agent_connected(self) -> bool:
        """Whether the script's own process has an agent that listens."""
        return any(self._agents.values())

    @property
    def idle(self) -> bool:
        """Whether nobody is connected."""
        return not self._handlers

    def command_agents(self, command: dict[str, Any]) -> bool:
        """Sends a command to the agent of the script's own process; False where none is connected."""
        line = json.dumps(command).encode() + b"\n"
        targets = [writer for writer, main in self._agents.items() if main and not writer.is_closing()]
        for writer in targets:
            writer.write(line)
        return bool(targets)

    def ask_agents(self, command: dict[str, Any]) -> bool:
        """Sends a command to the agents of all processes of the run; whether the script's own is among them."""
        line = json.dumps(command).encode() + b"\n"
        for writer in self._agents:
            if not writer.is_closing():
                writer.write(line)
        return self.main_agent_connected

    async def drain_agents(self, timeout_s: float) -> None:
        """Waits until every agent's last words were read: the script ended, so its connections end too, unless a
        child of it lives on."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._agents_gone(), timeout_s)

    async def _agents_gone(self) -> None:
        await asyncio.sleep(0)  # lets connections that still wait in the listener in
        while self._agents:
            await asyncio.sleep(0.01)

    async def close(self) -> None:
        """Ends every connection."""
        if self._server is not None:
            self._server.close()
        for task in self._handlers:
            task.cancel()
        if self._handlers:
            await asyncio.wait(self._handlers, timeout=1.0)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        try:
            if len(self._handlers) > MAX_CONNECTIONS or peer_uid(writer.get_extra_info("socket")) != os.getuid():
                self._on_refused("a connection too many, or another user's")
                return
            await self._read(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass  # the peer went away, or the run is over
        except ValueError:  # StreamReader.readline: longer than the limit
            self._on_refused(f"a line longer than {MAX_LINE_BYTES} bytes")
        except Exception as error:  # whatever a peer made us do: asyncio would print it to the script's stderr
            self._on_refused(f"it could not be answered: {error!r:.200}")
        finally:
            self._handlers.discard(task)
            self._agents.pop(writer, None)
            writer.close()

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            data = events.parse(line)
            if data is None:
                self._on_refused(f"no JSON object: {line[:200]!r}")
                return
            if "cmd" in data:
                writer.write(json.dumps(self._answer(data)).encode() + b"\n")
                await writer.drain()
            else:
                self._take(data, writer)

    def _answer(self, command: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"ok": True, **(self._on_command(command) or {})}
        except ValueError as error:
            return {"ok": False, "error": str(error)}
        except Exception as error:  # an argument of a kind that nobody thought of
            self._on_refused(f"a command that failed with {error!r:.200}")
            return {"ok": False, "error": "this command can't be carried out"}

    def _take(self, data: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        kind = data.get("type")
        known = isinstance(kind, str) and kind in FROM_AGENTS
        event = events.from_dict({**data, "src": "agent"}) if known else None
        if event is None or event.pid is None:
            self._on_refused(f"not an event that an agent may send: {str(data)[:200]}")
            return
        if field := misfit(event):
            value = getattr(event, field.partition(".")[0])
            self._on_refused(f"{event.type}.{field} is {str(value)[:200]}")
            return
        if isinstance(event, events.AgentConnected):
            self._agents[writer] = event.main is True
        self._on_event(event)
