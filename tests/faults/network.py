"""Machines with a network of their own, which can be cut off from one service or another.

All of it is in network namespaces that are made here and gone afterwards: nothing of it reaches
the network of this machine. A cut drops what is sent either way without a word.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from ipaddress import IPv4Address
from pathlib import Path

_NEW_NETWORK = 0x40000000
"""CLONE_NEWNET of unshare(2)."""
_LIBC = ctypes.CDLL(None, use_errno=True)


def why_not() -> str:
    """Why this machine can make no networks; empty where it can."""
    if os.geteuid() != 0:
        return "networks of one's own need root"
    if shutil.which("ip") is None:
        return "there is no `ip`; on Debian and Ubuntu: apt-get install iproute2"
    made = subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False)
    return "" if made.returncode == 0 else "this machine lets nobody make a network namespace"


@contextmanager
def own_network() -> Iterator[None]:
    """This thread, and all that it starts, is in a new network with loopback only."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        _checked(_LIBC.unshare(_NEW_NETWORK))
        _ip("link", "set", "lo", "up")
        Path("/proc/sys/net/ipv4/conf/all/rp_filter").write_text("1")
        yield
    finally:
        _checked(_LIBC.setns(before, _NEW_NETWORK))
        os.close(before)


def _checked(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


class Network:
    """Machines around this process's own network, which has the services.

    Args:
        machines: Their names.
        services: Ports on loopback, by the service's name.
    """

    def __init__(self, machines: list[str], services: Mapping[str, int]) -> None:
        self._hosts = {name: f"10.86.1.{4 * n + 2}" for n, name in enumerate(machines)}
        self._services = {name: f"10.86.0.{n + 1}" for n, name in enumerate(services)}
        self._ports = dict(services)
        self._cuts: set[tuple[str, str]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._servers: list[asyncio.Server] = []

    def __enter__(self) -> Network:
        try:
            self._make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _make(self) -> None:
        for address in self._services.values():
            _ip("address", "add", f"{address}/32", "dev", "lo")
        for number, (name, address) in enumerate(self._hosts.items()):
            self._join(name, f"machine{number}", address)
        self._thread.start()
        for name, address in self._services.items():
            serving = asyncio.start_server(
                lambda r, w, port=self._ports[name]: _forward(r, w, port),
                address,
                self._ports[name],
            )
            self._servers.append(asyncio.run_coroutine_threadsafe(serving, self._loop).result(10))

    def __exit__(self, *_: object) -> None:
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._loop.close()
        for name in self._hosts:
            with suppress(subprocess.CalledProcessError):
                _ip("netns", "delete", self._namespace(name))

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        forwarding = asyncio.all_tasks() - {asyncio.current_task()}
        for task in forwarding:
            task.cancel()
        await asyncio.gather(*forwarding, return_exceptions=True)
        await asyncio.sleep(0.1)  # transports close after their writers

    def _namespace(self, name: str) -> str:
        return f"flagfall-{os.getpid()}-{name}"

    def _join(self, name: str, link: str, address: str) -> None:
        inside, gateway = self._namespace(name), str(IPv4Address(address) - 1)
        _ip("netns", "add", inside)
        _ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", inside)
        _ip("address", "add", f"{gateway}/30", "dev", link)
        _ip("link", "set", link, "up")
        _ip("-n", inside, "link", "set", "lo", "up")
        _ip("-n", inside, "address", "add", f"{address}/30", "dev", "eth0")
        _ip("-n", inside, "link", "set", "eth0", "up")
        _ip("-n", inside, "route", "add", "default", "via", gateway)

    def inside(self, name: str) -> list[str]:
        """What a command begins with that is run on a machine; empty for this one."""
        return ["ip", "netns", "exec", self._namespace(name)] if name in self._hosts else []

    def seen_from(self, name: str, text: str) -> str:
        """A text with the addresses of services as a machine knows them."""
        for service, port in self._ports.items() if name in self._hosts else ():
            text = text.replace(f"127.0.0.1:{port}", f"{self._services[service]}:{port}")
        return text

    def cut(self, name: str, service: str) -> None:
        """Drop what a machine and a service send each other."""
        self._rule("add", name, service)
        self._cuts.add((name, service))

    def heal(self) -> None:
        """Let everything through again."""
        while self._cuts:
            self._rule("delete", *self._cuts.pop())

    def _rule(self, what: str, name: str, service: str) -> None:
        """With reverse path filtering, no way back is no way in either."""
        way = ("from", self._services[service], "to", self._hosts[name])
        _ip("rule", what, *way, "blackhole")


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    """Hand a connection on to loopback, where the service listens."""
    try:
        there, back = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        writer.close()
        return
    await asyncio.gather(_pump(reader, back), _pump(there, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
    finally:
        writer.close()
