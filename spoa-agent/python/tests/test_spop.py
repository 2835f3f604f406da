"""The client that plays HAProxy."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import pytest

from spoa_agent import Agent, ConfigError, ProtocolError, SpopClient
from spoa_agent.spop import decode_headers, encode_headers, request_message, response_message
from support import config

_PAYLOAD = b"\x65\0\0\0\1\0\0\x07version\x08\x032.0\x0emax-frame-size\x03\xfc\xf0\x06\x0ccapabilities\x08\x0apipelining"
AGENT_HELLO = len(_PAYLOAD).to_bytes(4, "big") + _PAYLOAD


def test_hello_is_agreed_and_each_notify_is_acknowledged(agent: Agent) -> None:
    with SpopClient(agent.addresses[0], engine_id="engine-1") as haproxy:
        assert (haproxy.version, haproxy.max_frame_size, haproxy.capabilities) == ("2.0", 16380, ["pipelining"])
        ack = haproxy.notify(request_message("id-1", "GET", "/"), stream_id=7, frame_id=3)
        assert (ack.stream_id, ack.frame_id) == (7, 3)
        assert [action.kind for action in ack.actions] == ["unset"]
        assert ack.variables == {}
        haproxy.disconnect()


def test_a_held_write_is_told_to_be_durable(agent: Agent) -> None:
    with SpopClient(agent.addresses[0]) as haproxy:
        ack = haproxy.notify(request_message("id-1", "PUT", "/i/_doc/1", held=True))
    assert ack.variables == {"durable": True}
    (action,) = ack.actions
    assert (action.kind, action.scope, action.name, action.value) == ("set", "transaction", "durable", True)


def test_acks_of_other_frames_are_kept(agent: Agent) -> None:
    with SpopClient(agent.addresses[0]) as haproxy:
        sent = [haproxy.send(request_message(f"id-{number}", "GET", "/")) for number in range(3)]
        last = haproxy.notify(response_message("id-0"))
        assert last.stream_id not in sent
        assert sorted(haproxy.receive().stream_id for _ in sent) == sent


def test_several_messages_may_be_in_one_frame(agent: Agent) -> None:
    with SpopClient(agent.addresses[0]) as haproxy:
        haproxy.notify(request_message("id-1", "GET", "/"), response_message("id-1"))
    assert [found.kind for found in agent.exchanges()] == ["exchange"]


def test_a_message_that_breaks_the_contract_is_acknowledged_and_counted(agent: Agent) -> None:
    name, arguments = request_message("id-1", "GET", "/")
    with SpopClient(agent.addresses[0]) as haproxy:
        haproxy.notify((name, {**arguments, "m": None}), ("nobody-knows-it", {}))
    capture = agent.ledger()["capture"]
    assert capture["requests"]["refused"]["contract"] == 1
    assert capture["unknown_messages"] == 1


def test_a_health_check_tells_whether_the_agent_is_there(agent: Agent) -> None:
    address = agent.addresses[0]
    assert SpopClient.health_check(address)
    agent.stop()
    assert not SpopClient.health_check(address)


def test_a_unix_socket_will_do(tmp_path: Path) -> None:
    with Agent(config(tmp_path, server={"listen": [f"unix:{tmp_path}/s"]})):
        for address in (f"unix:{tmp_path}/s", f"unix@{tmp_path}/s", f"{tmp_path}/s"):
            assert SpopClient.health_check(address)


def test_an_agent_that_leaves_says_why(agent: Agent) -> None:
    with SpopClient(agent.addresses[0]) as haproxy:
        haproxy.send_bytes(b"\0\0\0\1\xff")
        with pytest.raises(ProtocolError) as left:
            haproxy.receive()
        assert left.value.status == 4
    with pytest.raises(ProtocolError, match="max-frame-size") as refused:
        SpopClient(agent.addresses[0], max_frame_size=2**30)
    assert refused.value.status == 9


def test_a_closed_client_says_so(agent: Agent) -> None:
    haproxy = SpopClient(agent.addresses[0])
    haproxy.close()
    with pytest.raises(ProtocolError, match="closed"):
        haproxy.receive()


def test_nobody_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ProtocolError, match=str(tmp_path)):
        SpopClient(f"{tmp_path}/none")
    with pytest.raises(ConfigError, match="timeout"):
        SpopClient("127.0.0.1:1", timeout=0)


def test_a_silent_agent_is_waited_for_no_longer_than_asked() -> None:
    with peer(b"") as address, pytest.raises(ProtocolError, match=r"0\.1 s"):
        SpopClient(address, timeout=0.1)


def test_an_agent_that_talks_nonsense_is_refused() -> None:
    with peer(b"HTTP/1.1 400 Bad Request\r\n\r\n") as address, pytest.raises(ProtocolError):
        SpopClient(address)


def test_values_travel_as_their_types() -> None:
    values: dict[str, Any] = {
        "null": None,
        "true": True,
        "int": -5,
        "str": "caf\udce9",
        "bin": b"\0\1",
        "v4": IPv4Address("10.0.0.1"),
        "v6": IPv6Address("::1"),
        "u32": ("uint32", 2**32 - 1),
        "u64": ("uint64", 2**64 - 1),
        "s": ("string", b"\xff"),
    }
    with recorder() as (address, received):
        haproxy = SpopClient(address)
        haproxy.send(("m", values))
        haproxy.close()
    frame = received()
    assert b"\x04null\x00" in frame
    assert b"\x04true\x11" in frame
    assert b"\x03str\x08\x04caf\xe9" in frame
    assert b"\x03bin\x09\x02\0\1" in frame
    assert b"\x02v4\x06\x0a\0\0\1" in frame
    assert b"\x02v6\x07" + b"\0" * 15 + b"\1" in frame
    assert b"\x03u32\x03" in frame
    assert b"\x03u64\x05" in frame
    assert b"\x01s\x08\x01\xff" in frame
    assert b"\x03int\x04" in frame


@pytest.mark.parametrize("wrong", [1.5, ("float", 1), object(), ("uint32", -1), 2**70])
def test_what_spop_has_no_type_for_is_refused(agent: Agent, wrong: Any) -> None:
    with SpopClient(agent.addresses[0]) as haproxy, pytest.raises((TypeError, OverflowError)):
        haproxy.send(("m", {"a": wrong}))


def test_a_frame_beyond_what_was_agreed_is_refused_before_it_is_sent(agent: Agent) -> None:
    with SpopClient(agent.addresses[0], max_frame_size=1000) as haproxy:
        with pytest.raises(ProtocolError, match="1000"):
            haproxy.send(request_message("id-1", "PUT", "/", body=bytes(2000)))
        haproxy.notify(request_message("id-2", "GET", "/"))


def test_headers_are_encoded_as_haproxy_does() -> None:
    fields = [("host", "a"), ("x", "caf\udce9"), ("x", "")]
    assert encode_headers(fields) == b"\x04host\x01a\x01x\x04caf\xe9\x01x\0\0\0"
    assert decode_headers(encode_headers(fields)) == fields
    with pytest.raises(ProtocolError):
        decode_headers(b"\x04ho")


@contextmanager
def peer(says: bytes) -> Iterator[str]:
    """Somebody who listens, says something, and nothing more."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        done = threading.Event()

        def talk() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(says)
                done.wait(30)

        thread = threading.Thread(target=talk)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        done.set()
        thread.join()


@contextmanager
def recorder() -> Iterator[tuple[str, Any]]:
    """An agent that says HELLO and keeps what it is sent."""
    kept: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def talk() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(AGENT_HELLO)
                while block := connection.recv(65536):
                    kept.append(block)

        thread = threading.Thread(target=talk)
        thread.start()

        def received() -> bytes:
            thread.join(30)
            return b"".join(kept)

        yield f"127.0.0.1:{server.getsockname()[1]}", received
