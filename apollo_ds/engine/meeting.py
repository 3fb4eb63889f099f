"""The address at which the ranks of a run meet, and the network interface by which they talk.

Ranks on one machine use its loopback interface, so that nothing listens to the network. Ranks on several machines use
the interface that leads to the first machine.
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
"""NCCL takes a name without `=` for a prefix: `bond0` would also match `bond0.100`."""
_ELSEWHERE = ("192.0.2.1", "2001:db8::1")
"""Addresses that no machine has (reserved for documentation). The route to them is the default route."""
_PORT = 9
"""Any port will do, since nothing is sent to it."""


def meeting_place() -> str | None:
    """The `init_method` for `init_process_group`; None for torch's default.

    The default is used if not all ranks are on this machine, or if the launcher already has a store for the ranks, as
    torchrun does. The network interface for Gloo and NCCL is written to the environment, unless it names one.

    Raises:
        UserError: the environment names an interface that this machine does not have.
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
        if wanted.startswith("^"):  # NCCL: any interface except these
            continue
        # NCCL takes names for prefixes unless they begin with `=`. It uses any of them, and Gloo uses all.
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
    """The network interface of this machine that leads to the first node; None if none is found.

    On the first node itself it is the interface that has the node's address. If the node's name resolves to a loopback
    address there, as by Debian's /etc/hosts, it is the interface of the default route.
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
    """This machine's own address on the route to a host. A connected UDP socket tells it without sending anything."""
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
            continue  # there is no route to this address
    return None


def _addresses() -> dict[str, list[str]]:
    """The addresses of each interface. psutil appends the interface's name to IPv6 addresses; it is cut off."""
    return {name: [one.address.split("%")[0] for one in found] for name, found in psutil.net_if_addrs().items()}


def _meet(url: str, timeout: timedelta, **_: Any) -> Iterator[tuple[dist.Store, int, int]]:
    """Yield the store, this rank, and the number of ranks. Torch's own store would listen on every interface."""
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
