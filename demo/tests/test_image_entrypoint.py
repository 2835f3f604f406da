"""The images' entry point: from the environment to the agent's command line."""

from __future__ import annotations

import os
import subprocess
import tempfile
import unittest
from pathlib import Path

ENTRYPOINT = Path(__file__).resolve().parent.parent.parent / "haproxy" / "entrypoint"

# Prints its arguments, and the variables that belong to it.
AGENT = """\
#!/bin/sh
[ "$1" = "$REFUSED" ] && exit 2
printf '%s\\n' "$@"
env | grep '^SPOA_AGENT_' | sort
"""


class EntrypointTest(unittest.TestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)
        agent = self.folder / "spoa-agent"
        agent.write_text(AGENT)
        agent.chmod(0o755)

    def run_entrypoint(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        basic = {"PATH": f"{self.folder}:/usr/bin:/bin", "ROLE": "primary", "INTERNAL_PORT": "9200"}
        command = ["/bin/sh", str(ENTRYPOINT), *arguments]
        return subprocess.run(command, check=False, capture_output=True, text=True, env={**basic, **environment})

    def options(self, **environment: str) -> list[str]:
        done = self.run_entrypoint("config", **environment)
        self.assertEqual(0, done.returncode, done.stderr)
        return done.stdout.splitlines()

    def assert_in_turn(self, wanted: list[str], options: list[str]) -> None:
        self.assertIn("\n".join(["", *wanted, ""]), "\n".join(["", *options, ""]))

    def test_nodes_are_separated_by_spaces_commas_or_lines(self) -> None:
        options = self.options(PRIMARY_NODES="[::1]:9200, b:9200\nhttps://c:9200")
        self.assert_in_turn(["--node", "[::1]:9200", "--node", "b:9200", "--node", "https://c:9200"], options)
        self.assert_in_turn(["--role", "primary"], options)
        self.assert_in_turn(["--listen", "9200"], options)

    def test_each_side_has_its_own_nodes(self) -> None:
        options = self.options(ROLE="shadow", PRIMARY_NODES="p:1", SHADOW_NODES="s:1")
        self.assertIn("s:1", options)
        self.assertNotIn("p:1", options)

    def test_a_bracket_is_no_pattern(self) -> None:
        # Were it one, this file would be its match.
        (self.folder / "a:1").write_text("")
        self.addCleanup(os.chdir, Path.cwd())
        os.chdir(self.folder)
        self.assertIn("[a]:1", self.options(PRIMARY_NODES="[a]:1"))

    def test_each_option_of_the_configuration_is_a_variable(self) -> None:
        options = self.options(
            PRIMARY_NODES="a:1",
            HAPROXY_CONFIG_BODY_LIMIT="1MiB",
            HAPROXY_CONFIG_NO_NODE_CHECK="true",
            HAPROXY_CONFIG_NODE_TLS_INSECURE="false",
            HAPROXY_CONFIG_LISTEN="9300 [::]:9301",
            HAPROXY_CONFIG_ID_HEADER="",
        )
        self.assert_in_turn(["--body-limit", "1MiB"], options)
        self.assert_in_turn(["--no-node-check"], options)
        self.assert_in_turn(["--listen", "9300", "--listen", "[::]:9301"], options)
        for absent in ("--node-tls-insecure", "--id-header", "9200", "true"):
            self.assertNotIn(absent, options)

    def test_what_may_have_spaces_is_separated_by_lines(self) -> None:
        headers = "X-A: b, c\n\nX-D: $HOME '*'\n"
        options = self.options(PRIMARY_NODES="a:1", HAPROXY_CONFIG_SET_HEADER=headers)
        self.assert_in_turn(["--set-header", "X-A: b, c", "--set-header", "X-D: $HOME '*'"], options)

    def test_what_the_image_sets_itself_is_refused(self) -> None:
        done = self.run_entrypoint("config", PRIMARY_NODES="a:1", HAPROXY_CONFIG_ROLE="shadow")
        self.assertEqual((2, True), (done.returncode, "HAPROXY_CONFIG_ROLE" in done.stderr))

    def test_without_nodes_it_says_which_variable_names_them(self) -> None:
        for role in ("primary", "shadow"):
            done = self.run_entrypoint("config", ROLE=role)
            self.assertEqual((2, True), (done.returncode, f"set {role.upper()}_NODES" in done.stderr))

    def test_a_configuration_that_is_refused_ends_it(self) -> None:
        done = self.run_entrypoint("config", PRIMARY_NODES="a:1", REFUSED="haproxy-config")
        self.assertEqual(2, done.returncode)
        self.assertIn("HAPROXY_CONFIG_", done.stderr)

    def test_short_names_become_keys_of_the_agent(self) -> None:
        said = self.options(PRIMARY_NODES="a:1", SHADOW_URL="s:81", KAFKA_BROKERS="k:9092,l:9092", KAFKA_TOPIC="t")
        self.assertIn("SPOA_AGENT_SHADOW_URL=http://s:81", said)
        self.assertIn("SPOA_AGENT_KAFKA_BROKERS=k:9092,l:9092", said)
        self.assertIn("SPOA_AGENT_KAFKA_TOPIC=t", said)
        said = self.options(PRIMARY_NODES="a:1", SHADOW_URL="https://s:81")
        self.assertIn("SPOA_AGENT_SHADOW_URL=https://s:81", said)

    def test_a_key_of_the_agent_wins_over_its_short_name(self) -> None:
        said = self.options(PRIMARY_NODES="a:1", SHADOW_URL="s:81", SPOA_AGENT_SHADOW_URL="", KAFKA_BROKERS="")
        self.assertIn("SPOA_AGENT_SHADOW_URL=", said)
        self.assertNotIn("SPOA_AGENT_KAFKA_BROKERS=", said)

    def test_any_other_word_is_a_command(self) -> None:
        done = self.run_entrypoint("echo", "hello", "world")
        self.assertEqual((0, "hello world\n"), (done.returncode, done.stdout))
