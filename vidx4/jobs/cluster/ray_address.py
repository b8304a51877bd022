"""Whether a cluster answers at an address: Ray itself would try for a quarter of an hour."""

import socket

import ray
from ray.exceptions import RpcError

from vidx4.errors import OptionError

_CONNECT_SECONDS = 10.0
_CLIENT = "ray://"


def check_address(address: str) -> None:
    """Make sure that a cluster answers.

    Args:
        address: `auto` for the cluster that this machine belongs to, or `ray://HOST:PORT`.

    Raises:
        OptionError: there is none, or it does not answer within a minute.
    """
    if address.startswith(_CLIENT):
        _connect(address.removeprefix(_CLIENT))
    elif (found := ray._private.services.canonicalize_bootstrap_address(address)) is not None:
        _connect(found)
        try:
            getattr(ray._raylet, "GcsClient")(address=found)  # noqa: B009  # which the types of Ray lack
        except RpcError as error:
            raise _no_answer(found, "it is not a Ray cluster, or hangs") from error


def _connect(address: str) -> None:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise _no_answer(address, getattr(error, "strerror", None) or str(error)) from error


def _no_answer(address: str, why: str) -> OptionError:
    return OptionError(
        f"The cluster at {address} does not answer ({why.lower().rstrip('.')}): check that it is running "
        "(ray status), and whether RAY_ADDRESS names it."
    )
