"""Ranks meet on the loopback interface where all of them are on this machine, else by the way to the first node."""

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import timedelta
from typing import Any

import psutil
import pytest

from apollo_ds.engine import meeting
from apollo_ds.engine.meeting import _meet, interface_towards, meeting_place
from apollo_ds.errors import UserError

INTERFACES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TORCHELASTIC_USE_AGENT_STORE", "LOCAL_SIZE", "LOCAL_WORLD_SIZE", *INTERFACES):
        monkeypatch.setenv(name, "eth7")  # put back after the test, whatever it sets
        monkeypatch.delenv(name)
    monkeypatch.setenv("WORLD_SIZE", "2")


def own_addresses() -> Iterator[tuple[str, str]]:
    """The interfaces of this machine that are no loopback, each with an address by which it can be reached."""
    for name, addresses in psutil.net_if_addrs().items():
        for one in addresses:
            if name != "lo" and one.family in (socket.AF_INET, socket.AF_INET6) and "%" not in one.address:
                yield name, one.address


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
    if agent:
        monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", agent)
    assert meeting_place() == expected


@pytest.mark.parametrize(("address", "here"), [("127.0.0.1", None), ("192.0.2.9", "2")])
def test_ranks_of_one_machine_talk_by_its_loopback_interface(
    address: str, here: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASTER_ADDR", address)
    if here:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", here)
    meeting_place()
    assert [os.environ[name] for name in INTERFACES] == ["lo", "=lo"]


def test_ranks_of_several_machines_talk_by_the_way_to_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    found = list(own_addresses())
    if not found:
        pytest.skip("this machine has a loopback interface alone")
    for name, address in found:
        assert interface_towards(address) == name
    monkeypatch.setenv("MASTER_ADDR", found[0][1])
    monkeypatch.setenv("LOCAL_SIZE", "1")
    monkeypatch.setenv("NCCL_SOCKET_IFNAME", "lo")
    assert meeting_place() is None
    assert [os.environ[name] for name in INTERFACES] == [found[0][0], "lo"]


@pytest.mark.parametrize("loopback", ["127.0.1.1", "::1"])
def test_a_name_that_is_the_loopback_address_here_stands_for_the_default_route(
    loopback: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = dict(own_addresses())
    if not found:
        pytest.skip("this machine has a loopback interface alone")
    name, address = next(iter(found.items()))
    resolve = socket.getaddrinfo

    def resolved(host: str, *rest: Any, **options: Any) -> Any:
        return resolve(loopback if host == "node1" else host, *rest, **options)

    monkeypatch.setattr(meeting.socket, "getaddrinfo", resolved)
    monkeypatch.setattr(meeting, "_ELSEWHERE", (address,))  # whatever default route this machine has
    assert interface_towards("node1") == name
    assert interface_towards(loopback) in ("lo", None)  # None where this machine has no IPv6


def test_a_name_that_nobody_knows_chooses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_ADDR", "no-such-node.invalid")
    assert meeting_place() is None
    assert not any(name in os.environ for name in INTERFACES)


def test_a_port_that_is_taken_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for name, value in {"RANK": "0", "WORLD_SIZE": "1", "MASTER_PORT": str(taken.getsockname()[1])}.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(OSError) as caught:
            next(_meet("loopback://", timedelta(seconds=1)))
    assert caught.value.errno == errno.EADDRINUSE


@pytest.mark.parametrize(
    ("name", "value", "is_there"),
    [
        ("GLOO_SOCKET_IFNAME", "lo", True),
        ("GLOO_SOCKET_IFNAME", "nosuch0", False),
        ("GLOO_SOCKET_IFNAME", "lo,nosuch0", False),
        ("NCCL_SOCKET_IFNAME", "nosuch0", False),
        ("NCCL_SOCKET_IFNAME", "=l", False),
        ("NCCL_SOCKET_IFNAME", "nosuch0,l", True),  # the beginning of a name, and one of several is enough
        ("NCCL_SOCKET_IFNAME", "^docker0", True),
    ],
)
def test_an_interface_that_is_not_there_is_named(
    name: str, value: str, is_there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, usual in {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo", "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(variable, usual)
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv(name, value)
    with nullcontext() if is_there else pytest.raises(UserError, match=rf"^{name}: .* has no network interface .*; it"):
        meeting_place()
