"""The agent as a child process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from spoa_agent import (
    Agent,
    AgentError,
    AgentUnreachable,
    ConfigError,
    Haproxy,
    HaproxyConfig,
    Process,
    SpopClient,
    find_agent,
)
from support import BULK, Node, config, exchange, free_port, haproxy_programs


def test_an_agent_is_ready_tells_where_it_is_and_ends_in_order(tmp_path: Path) -> None:
    with Agent(config(tmp_path)) as agent:
        assert agent.alive
        assert agent.exit_code is None
        assert len(agent.addresses) == 1
        assert agent.readiness() == (True, [])
        assert agent.journal_dir == tmp_path / "journal"
        assert agent.fetch("/healthz") == b"ok\n"
        assert str(agent.pid) in repr(agent)
        assert agent.cpu_seconds() >= 0
        assert agent.resident_bytes() > 1 << 20
    assert agent.exit_code == 0
    assert [line.message for line in agent.logs()][-1] == "stopped"


def test_what_was_captured_is_counted_and_read_back(agent: Agent) -> None:
    with SpopClient(agent.addresses[0]) as haproxy:
        exchange(haproxy, "id-1", "POST", "/_bulk", 1_750_000_000_000_000, body=BULK)
    assert agent.ledger()["capture"]["requests"]["captured"] == 1
    assert [found.id for found in agent.exchanges()] == ["id-1"]
    assert agent.metric("spoa_agent_halves_captured_total") == 2
    assert agent.metric("spoa_agent_halves_captured_total", half="request") == 1
    assert agent.metric("no_such_metric") == 0
    assert agent.ambiguous() == []


def test_a_wrong_configuration_is_told_whole() -> None:
    with pytest.raises(ConfigError) as refused, Agent({"jornal": {"dir": "x"}, "server": {"listen": ["nowhere"]}}):
        pass
    assert len(refused.value.problems) == 2
    assert "did you mean journal" in str(refused.value)


def test_a_journal_that_another_agent_has_is_told_in_the_agents_words(agent: Agent, tmp_path: Path) -> None:
    with pytest.raises(AgentError, match=rf"exit code 3[\s\S]*{agent.pid}"), Agent(config(tmp_path)):
        pass


def test_a_configuration_file_and_flags_are_taken_too(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f'journal.dir = "{tmp_path}/j"\nserver.listen = ["127.0.0.1:0"]\nlog.format = "text"\n')
    with Agent(path, arguments=["--admin-listen", "127.0.0.1:0"]) as agent:
        assert agent.config_path == path
        assert agent.readiness()[0]


def test_the_environment_of_the_child_is_ours_and_more(tmp_path: Path) -> None:
    sections = config(tmp_path)
    del sections["journal"]
    with Agent(sections, env={"SPOA_AGENT_JOURNAL_DIR": str(tmp_path / "other")}) as agent:
        assert agent.journal_dir == tmp_path / "other"


def test_an_agent_that_says_little_is_ready_all_the_same(tmp_path: Path) -> None:
    with Agent(config(tmp_path)) as first:
        port = first.admin_url.rpartition(":")[2]
    quiet = config(tmp_path, log={"level": "error"}, admin={"listen": f"127.0.0.1:{port}"})
    with Agent(quiet) as agent:
        assert agent.readiness()[0]
        with pytest.raises(AgentError, match=r"log\.level"):
            _ = agent.journal_dir


def test_a_killed_agent_is_seen_and_starts_again_on_the_same_journal(agent: Agent) -> None:
    with SpopClient(agent.addresses[0]) as haproxy:
        exchange(haproxy, "before", "GET", "/", 1)
    agent.kill()
    assert not agent.alive
    assert agent.exit_code == -signal.SIGKILL
    with pytest.raises(AgentError, match="SIGKILL"):
        agent.ledger()
    with pytest.raises(AgentError, match="ended early"):
        agent.wait_until(lambda: False, 30)
    agent.start()
    agent.wait_ready()
    assert len(agent.addresses) == 1
    assert [found.id for found in agent.exchanges()] == ["before"]


def test_a_stopped_process_does_not_answer_and_that_is_an_os_error_too(agent: Agent) -> None:
    url = agent.admin_url
    agent.stop()
    other = Agent({"admin": {"listen": url[len("http://") :]}})
    with pytest.raises(AgentError):
        other.ledger()
    assert issubclass(AgentUnreachable, OSError)


def test_waiting_in_vain_says_for_what(agent: Agent) -> None:
    with pytest.raises(AgentError, match="until pigs fly"):
        agent.wait_until(lambda: False, 0.01, "pigs fly")
    with pytest.raises(AgentError, match="still runs"):
        agent.wait(0.01)


def test_what_was_not_started_says_so(tmp_path: Path) -> None:
    agent = Agent(config(tmp_path))
    assert agent.stop() is None
    assert agent.logs() == []
    with pytest.raises(AgentError, match="not started"):
        _ = agent.pid
    with agent, pytest.raises(AgentError, match="runs already"):
        agent.start()


def test_the_program_is_looked_for_where_one_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_agent() == os.environ["SPOA_AGENT_BINARY"]
    with pytest.raises(AgentError, match="no-such-agent"):
        find_agent(tmp_path / "no-such-agent")
    monkeypatch.delenv("SPOA_AGENT_BINARY")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AgentError, match="SPOA_AGENT_BINARY"):
        find_agent()
    (tmp_path / "spoa-agent").write_text("#!/bin/sh\n")
    (tmp_path / "spoa-agent").chmod(0o755)
    assert find_agent() == str(tmp_path / "spoa-agent")


def test_a_child_that_does_not_end_when_asked_is_killed() -> None:
    class Stubborn(Process):
        name = "stubborn"

        def _command(self) -> list[str]:
            return ["/bin/sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"]

        def _is_ready(self) -> bool:
            return "ready" in self.output_path.read_text()

    with Stubborn(stop_timeout=0.1) as stubborn:
        assert stubborn.alive
    assert stubborn.exit_code == -signal.SIGKILL


def test_no_child_outlives_the_interpreter(tmp_path: Path) -> None:
    program = f"""
        from spoa_agent import Agent
        agent = Agent({{"journal": {{"dir": {str(tmp_path / "j")!r}}}, "server": {{"listen": ["127.0.0.1:0"]}},
                       "admin": {{"listen": "127.0.0.1:0"}}, "shutdown": {{"lame_duck": "0s"}}}})
        agent.start()
        agent.wait_ready()
        print(agent.pid, flush=True)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True)
    with pytest.raises(ProcessLookupError):
        os.kill(int(done.stdout), 0)


def test_a_child_ends_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    program = f"""
        import time
        from spoa_agent import Agent
        with Agent({{"journal": {{"dir": {str(tmp_path / "j")!r}}}, "server": {{"listen": ["127.0.0.1:0"]}},
                    "admin": {{"listen": "127.0.0.1:0"}}, "shutdown": {{"lame_duck": "0s"}}}},
                   folder={str(tmp_path / "folder")!r}, end_with_parent=True):
            print("ready", flush=True)
            time.sleep(60)
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "ready\n"
        parent.kill()
    log = tmp_path / "folder" / "spoa-agent.log"
    deadline = time.monotonic() + 60
    while '"stopped"' not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)


@pytest.mark.parametrize("program", haproxy_programs())
def test_haproxy_and_agent_capture_what_a_client_sends(program: str, node: Node, tmp_path: Path) -> None:
    import urllib.request

    spop = tmp_path / "spop.sock"
    with Agent(config(tmp_path, server={"listen": [f"unix:{spop}"]})) as agent:
        # A port of the node's kind: one that was free a moment ago.
        listen = f"127.0.0.1:{free_port()}"
        options = HaproxyConfig(listen=listen, nodes=[node.address], agent=f"unix@{spop}", processing_timeout="5s")
        with Haproxy(options, binary=program) as haproxy:
            assert haproxy.url == f"http://{listen}"
            request = urllib.request.Request(f"{haproxy.url}/songs/_doc/1", data=b'{"a":1}', method="PUT")
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
                assert answer.status == 200
        agent.wait_until(lambda: agent.ledger()["capture"]["responses"]["captured"] == 1, 30)
        (found,) = agent.exchanges()
        assert found.request is not None
        assert found.request.method == "PUT"
        assert found.request.body.content == b'{"a":1}'
        assert node.seen == [("PUT", "/songs/_doc/1", b'{"a":1}')]


def test_haproxy_that_refuses_its_configuration_is_told_in_its_words(tmp_path: Path) -> None:
    (tmp_path / "haproxy.cfg").write_text("frontend x\n    bnid *:80\n")
    with pytest.raises(ConfigError, match="bnid"), Haproxy(tmp_path, binary=haproxy_programs()[0]):
        pass
