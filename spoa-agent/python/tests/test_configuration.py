"""HAProxy's options, durations and sizes, and TOML."""

from __future__ import annotations

import os
import stat
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from spoa_agent import AgentError, ConfigError, HaproxyConfig, check_haproxy
from spoa_agent._toml import written
from spoa_agent._units import microseconds, number_of_bytes
from support import haproxy_programs


def test_every_option_reaches_the_files() -> None:
    files = HaproxyConfig(
        role="primary",
        listen=[9200, "[::1]:9201"],
        nodes=["10.0.0.1:9200", "https://search.example:9243"],
        node_ca_file="/etc/ssl/es.pem",
        node_check=False,
        agent="unix@/run/spoa-agent/spop.sock",
        hold="open",
        extra_reads=["_my_search"],
        body_limit="1MiB",
        processing_timeout="300ms",
        hold_timeout=timedelta(seconds=2),
        id_header="X-My-Id",
        threads=3,
        max_connections=1234,
        connect_timeout=4,
        client_timeout="11m",
        server_timeout="12m",
        http_request_timeout="13s",
        log="127.0.0.1:514",
        stats_socket=Path("/run/haproxy/admin.sock"),
        version="3.2",
        spoe_file="/etc/haproxy/my-spoe.cfg",
    ).render()
    haproxy, spoe = files["haproxy.cfg"], files["spoe.cfg"]
    for text in (
        "bind *:9200", "bind [::1]:9201", "search.example:9243", "/etc/ssl/es.pem", "unix@/run/spoa-agent/spop.sock", "_my_search",
        str(2**20 + 16384), "nbthread 3", "maxconn 1234", "127.0.0.1:514", "/run/haproxy/admin.sock", "/etc/haproxy/my-spoe.cfg",
    ):  # fmt: skip
        assert text in haproxy, text
    assert "x-my-id" in haproxy.lower()
    assert "300ms" in spoe


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as refused:
        HaproxyConfig(role="middle", nodes=["a", "b"], threads=70_000, body_limit="5GiB", hold_timeout=900).render()  # type: ignore[arg-type]
    problems = refused.value.problems
    assert len(problems) == 6, problems
    assert str(refused.value) == "\n".join(problems)


def test_options_of_the_wrong_kind_are_refused() -> None:
    with pytest.raises(TypeError):
        HaproxyConfig(node=["10.0.0.1:9200"])  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match="hold_timeout"):
        HaproxyConfig(hold_timeout="soon")


def test_a_shadow_listens_with_tls_only_when_asked_to(tmp_path: Path) -> None:
    text = HaproxyConfig(role="shadow", tls_listen=9443, certificate=tmp_path / "cert.pem").render()["haproxy.cfg"]
    assert text.count("bind ") == 1
    assert "9443 ssl" in text


def test_written_files_name_each_other(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    haproxy, spoe = HaproxyConfig(nodes=["10.0.0.1:9200"]).write(folder)
    assert (haproxy, spoe) == (folder / "haproxy.cfg", folder / "spoe.cfg")
    assert str(spoe) in haproxy.read_text()


@pytest.mark.parametrize("program", haproxy_programs())
def test_haproxy_takes_what_is_rendered_and_refuses_with_its_own_words(program: str, tmp_path: Path) -> None:
    assert HaproxyConfig(nodes=["10.0.0.1:9200"], hold="closed").validate(program) == []
    with pytest.raises(ConfigError, match=r"nobody\.pem"):
        HaproxyConfig(tls_listen=9443, certificate=tmp_path / "nobody.pem").validate(program)
    wrong = tmp_path / "haproxy.cfg"
    wrong.write_text("frontend x\n    bnid *:80\n")
    with pytest.raises(ConfigError, match="bnid"):
        check_haproxy(wrong, program)


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(AgentError, match="no-such-haproxy"):
        HaproxyConfig(nodes=["10.0.0.1:9200"]).validate("no-such-haproxy")


@pytest.mark.parametrize(
    ("value", "expected"),
    [("250ms", 250_000), ("5s", 5_000_000), ("1 h", 3_600_000_000), (0.25, 250_000), (timedelta(days=1), 86_400_000_000), (2, 2_000_000)],
)
def test_durations(value: Any, expected: int) -> None:
    assert microseconds("x", value) == expected


@pytest.mark.parametrize("value", ["", "5", "5 parsecs", "-1s", -1, float("nan"), True, "٣s"])
def test_what_is_no_duration_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match="x "):
        microseconds("x", value)


@pytest.mark.parametrize(("value", "expected"), [("256KiB", 2**18), ("1MB", 10**6), (7, 7), ("9", 9)])
def test_sizes(value: Any, expected: int) -> None:
    assert number_of_bytes("x", value) == expected


@pytest.mark.parametrize("value", ["big", "1.5MB", -1, True, 1.5])
def test_what_is_no_size_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match="x "):
        number_of_bytes("x", value)


def test_a_mapping_becomes_toml_that_reads_back() -> None:
    config = {
        "server": {"listen": ["127.0.0.1:0", "unix:/run/\"q\"\\\x7f\n\u00e9"], "max_connections": 7},
        "journal": {"dir": Path("/srv/j"), "sync_interval": timedelta(seconds=1), "x": None},
        "odd key": {"inner": {"flag": True, "ratio": 0.5}},
    }  # fmt: skip
    text = written(config)
    assert text == (
        '[server]\nlisten = ["127.0.0.1:0", "unix:/run/\\"q\\"\\\\\\u007f\\n\u00e9"]\nmax_connections = 7\n'
        '[journal]\ndir = "/srv/j"\nsync_interval = "1000ms"\n'
        '["odd key"]\n["odd key".inner]\nflag = true\nratio = 0.5\n'
    )


@pytest.mark.parametrize("value", [object(), float("inf"), b"bytes", "\ud800", {1: 2}])
def test_what_toml_cannot_say_is_refused_by_its_name(value: Any) -> None:
    with pytest.raises(ConfigError):
        written({"journal": {"dir": value}})


def test_written_configuration_is_ours_alone(tmp_path: Path) -> None:
    from spoa_agent import Agent

    folder = tmp_path / "folder"
    folder.mkdir()
    old = folder / "config.toml"
    old.write_text("old")
    old.chmod(0o644)
    with pytest.raises(ConfigError, match="jornal"), Agent({"jornal": {"dir": "x"}}, folder=folder):
        pass
    assert stat.S_IMODE(os.stat(old).st_mode) == 0o600
