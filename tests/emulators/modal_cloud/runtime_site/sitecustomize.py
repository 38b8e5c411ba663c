"""Run by every Python in an emulated container: there, the network interface `eth0` has the address that the
environment says.

Modal's runtime connects to a web server by the address of eth0, so that only what listens on all interfaces is reached
(modal 1.6.4, _runtime/asgi.py). This machine may have no such interface.
"""

import fcntl
import os
import socket

ADDRESS = socket.inet_aton(os.environ["GPU_EMULATOR_ETH0"])
GET_ADDRESS = 0x8915
"""SIOCGIFADDR of Linux."""

_ioctl = fcntl.ioctl


def _answering(fd, request, argument=0, *more):  # type: ignore[no-untyped-def]
    if request == GET_ADDRESS and isinstance(argument, bytes) and argument.startswith(b"eth0\0"):
        return bytes(20) + ADDRESS + bytes(8)
    return _ioctl(fd, request, argument, *more)


fcntl.ioctl = _answering
