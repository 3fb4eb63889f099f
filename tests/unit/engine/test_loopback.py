"""Ranks meet on the loopback interface where all of them are on this machine, and nowhere else."""

import errno
import socket
from datetime import timedelta

import pytest

from apollo_ds.engine.loopback import _meet, meeting_place


@pytest.mark.parametrize(
    ("address", "agent", "expected"),
    [
        ("127.0.0.1", None, "loopback://"),
        ("localhost", "False", "loopback://"),
        ("node1", None, None),
        ("127.0.0.1", "True", None),
    ],
)
def test_only_a_launcher_that_gives_this_machine_s_own_address_is_followed(
    address: str, agent: str | None, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASTER_ADDR", address)
    for name in ("TORCHELASTIC_USE_AGENT_STORE", "GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        monkeypatch.setenv(name, "eth7")  # put back after the test, whatever it sets
        monkeypatch.delenv(name)
    if agent:
        monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", agent)
    assert meeting_place() == expected


def test_a_port_that_is_taken_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for name, value in {"RANK": "0", "WORLD_SIZE": "1", "MASTER_PORT": str(taken.getsockname()[1])}.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(OSError) as caught:
            next(_meet("loopback://", timedelta(seconds=1)))
    assert caught.value.errno == errno.EADDRINUSE
