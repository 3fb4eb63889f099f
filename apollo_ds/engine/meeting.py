"""Where the ranks of a run meet, and by which network interface they talk.

Ranks of one machine keep to its loopback interface, so that nothing listens to the network. Those of several machines
talk by the interface that leads to the first of them.
"""

import ipaddress
import os
import socket
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psutil
import torch.distributed as dist

from apollo_ds.errors import UserError
from apollo_ds.ranks import ranks_of_this_machine

_ADDRESSES = ("127.0.0.1", "localhost")
_SCHEME = "loopback"
_LOOPBACK = "lo"
_SETTINGS = {"GLOO_SOCKET_IFNAME": "{}", "NCCL_SOCKET_IFNAME": "={}"}
"""NCCL takes a name without `=` for the beginning of several: `bond0` for `bond0.100` too."""
_ELSEWHERE = ("192.0.2.1", "2001:db8::1")
"""Addresses that nobody has: the way to them is the default route."""
_PORT = 9
"""Any one: nothing is sent to it."""


def meeting_place() -> str | None:
    """The `init_method` of `init_process_group`; None, for torch's own way, where not all ranks are on this machine.

    Torch's way is also that of a launcher that has a store for the ranks already, as torchrun has. The environment gets
    the interface for Gloo and NCCL, unless it names one.

    Raises:
        UserError: it names one that this machine does not have.
    """
    address = os.environ["MASTER_ADDR"]
    is_of_one_machine = address in _ADDRESSES or ranks_of_this_machine() == int(os.environ["WORLD_SIZE"])
    interface = _loopback() if is_of_one_machine else interface_towards(address)
    if interface:
        for variable, form in _SETTINGS.items():
            os.environ.setdefault(variable, form.format(interface))
    _check_interfaces()
    has_store = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    return f"{_SCHEME}://" if address in _ADDRESSES and not has_store else None


def _check_interfaces() -> None:
    known = [name for _, name in socket.if_nameindex()]
    for variable in _SETTINGS:
        wanted = os.environ.get(variable, "")
        if wanted.startswith("^"):  # NCCL: any but these
            continue
        # NCCL takes the beginnings of names, unless `=` stands before them; it may use any of them, and Gloo all.
        names, is_exact = wanted.removeprefix("=").split(","), wanted.startswith("=") or variable.startswith("GLOO")
        missing = [
            name for name in names if not any(name == one if is_exact else one.startswith(name) for one in known)
        ]
        if wanted and (missing if variable.startswith("GLOO") else len(missing) == len(names)):
            raise UserError(
                f"{variable}: {socket.gethostname()} has no network interface {', '.join(missing)}; it has "
                f"{', '.join(known)}"
            )


def interface_towards(host: str) -> str | None:
    """The network interface of this machine that leads to the first node; None where none is found.

    On the first node itself it is the one that has the node's address. Where the node's name stands for a loopback
    address there, as in Debian's /etc/hosts, it is that of the default route.
    """
    own = _own_address_towards(host)
    if own is not None and ipaddress.ip_address(own).is_loopback and not _is_address(host):
        own = next(filter(None, map(_own_address_towards, _ELSEWHERE)), None)
    if own is None:
        return None
    return next((name for name, addresses in _addresses().items() if own in addresses), None)


def _loopback() -> str | None:
    return _LOOPBACK if _LOOPBACK in (name for _, name in socket.if_nameindex()) else None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _own_address_towards(host: str) -> str | None:
    """The address from which this machine would talk to another; a UDP socket sends nothing to find it."""
    try:
        found = socket.getaddrinfo(host, _PORT, type=socket.SOCK_DGRAM)
    except OSError:
        return None
    for family, kind, protocol, _, place in found:
        try:
            with socket.socket(family, kind, protocol) as probe:
                probe.connect(place)
                return str(probe.getsockname()[0]).split("%")[0]
        except OSError:
            continue  # there is no way to this one
    return None


def _addresses() -> dict[str, list[str]]:
    """Those of each interface; psutil names the interface again in those of IPv6."""
    return {name: [one.address.split("%")[0] for one in found] for name, found in psutil.net_if_addrs().items()}


def _meet(url: str, timeout: timedelta, **_: Any) -> Iterator[tuple[dist.Store, int, int]]:
    """The store, this rank, and how many there are. The store by itself would listen on every interface."""
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    host, port = _ADDRESSES[0], int(os.environ["MASTER_PORT"])
    listening = socket.create_server((host, port)).detach() if rank == 0 else None
    yield (
        dist.TCPStore(
            host, port, world_size, is_master=rank == 0, timeout=timeout, multi_tenant=True, master_listen_fd=listening
        ),
        rank,
        world_size,
    )


dist.register_rendezvous_handler(_SCHEME, _meet)
