"""Addresses as people are told them, and the ports that platforms have for ssh."""

from __future__ import annotations

from placo.domain.protocols import SSH_PORTS, address, ssh_command, ssh_ports


def test_an_address_says_how_to_get_there() -> None:
    assert address("https", "alpha-web.example.org", "/a", 443) == "https://alpha-web.example.org/a"
    assert address("https", "alpha-web.example.org", "/", 8443) == "https://alpha-web.example.org:8443/"
    assert address("imaps", "alpha-mail.example.org", "/", 443) == "imaps://alpha-mail.example.org:993"
    assert address("smtp", "alpha.example.org", "/", 443) == "@alpha.example.org"
    assert address("ssh", "alpha-gateway.example.org", "/", 22004) == "ssh://alpha-gateway.example.org:22004"
    assert address("ssh", "a.example.org", "/", 22005, "root") == "ssh://root@a.example.org:22005"
    assert address("ssh", "a.example.org", "/", None) == "ssh://a.example.org"


def test_a_command_is_what_is_typed() -> None:
    assert ssh_command("ssh://a.example.org:22004", "emmy") == "ssh -p 22004 emmy@a.example.org"
    assert ssh_command("ssh://root@a.example.org:22005", "emmy") == "ssh -p 22005 root@a.example.org"


def test_no_two_platforms_have_a_port_in_common() -> None:
    ports = [port for index in range(300) for port in ssh_ports(22000, index)]
    assert len(set(ports)) == len(ports) == 300 * SSH_PORTS
    assert ssh_ports(22000, 0) == (22000, 22001, 22002, 22003)
    assert ssh_ports(65532, 0) == (65532, 65533, 65534, 65535)
    assert ssh_ports(65532, 1) == ()
