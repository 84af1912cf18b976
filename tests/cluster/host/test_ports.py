"""Ports: free when they are asked for, and each another."""

import socket

from relusweep.cluster.host.ports import free_ports


def test_ports_are_free_and_differ() -> None:
    ports = free_ports(20, "127.0.0.1")
    assert len(set(ports)) == 20
    for port in ports:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
