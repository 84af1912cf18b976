"""Ports: free ones, for servers that are started on this machine."""

import random
import socket


def free_ports(count: int, address: str = "") -> list[int]:
    """Return ports that are free here, chosen by chance, below those that the kernel gives to connections.

    Args:
        count: How many.
        address: Of this machine, where they are to be free; all of its addresses if empty.
    """
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(15000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind((address, port))
            except OSError:
                continue
        if port not in found:
            found.append(port)
    return found
