from __future__ import annotations

import socket
from pathlib import Path

import pytest

from sandbox.redis import LocalRedis, RedisFailed


def test_it_answers_while_it_is_entered_and_leaves_nothing(tmp_path: Path) -> None:
    with LocalRedis(tmp_path) as redis:
        host, port = redis.url.removeprefix("redis://").removesuffix("/0").split(":")
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            connection.sendall(b"SET a 1\r\n")
            assert connection.recv(16).startswith(b"+OK")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), timeout=5).close()
    assert [file.name for file in tmp_path.iterdir()] == ["redis.log"]


def test_killed_and_started_again_it_is_empty(tmp_path: Path) -> None:
    with LocalRedis(tmp_path) as redis:
        host, port = redis.url.removeprefix("redis://").removesuffix("/0").split(":")
        for said in (b"+OK", b"$-1"):
            with socket.create_connection((host, int(port)), timeout=5) as connection:
                connection.sendall(b"SET a 1\r\n" if said == b"+OK" else b"GET a\r\n")
                assert connection.recv(16).startswith(said)
            redis.kill()
            redis.start()


def test_a_machine_without_redis_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RedisFailed, match="apt-get install redis-server"), LocalRedis(tmp_path):
        pass
