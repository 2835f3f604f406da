"""`scripts/build_docker_images.py`: what it calls a client with, and what it says when there is none."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import sys
import tempfile
import unittest
from pathlib import Path
from types import ModuleType
from unittest import mock

ROOT = Path(__file__).resolve().parent.parent.parent
HOST = "host.docker.internal"
SEED = [
    *("--primary-nodes", f"{HOST}:9200", f"{HOST}:9201"),
    *("--shadow-haproxy", f"{HOST}:81", "--shadow-nodes", f"{HOST}:9202", f"{HOST}:9203"),
]

# Writes down what it is called with, one line for each call, beside itself.
CLIENT = """\
#!/bin/sh
folder=$(dirname "$0")
printf '%s|' "$DOCKER_BUILDKIT" "$@" >>"$folder/calls"
echo >>"$folder/calls"
case $1 in
    buildx) exit ${BUILDX:-0} ;;
    --version) echo "Docker version ${VERSION:-28.2.2}, build 0" ;;
    version) [ -z "$NO_ENGINE" ] || { echo 'Cannot connect to the Docker daemon at unix:///gone' >&2; exit 1; } ;;
    build) exit ${BUILD:-0} ;;
    image) echo 123456789 ;;
esac
"""


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_docker_images", ROOT / "scripts" / "build_docker_images.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


images = load()


class BuildTest(unittest.TestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)
        self.agent = self.folder / "an agent"
        self.agent.write_bytes(b"agent")
        self.add_client("docker")

    def add_client(self, name: str) -> None:
        client = self.folder / name
        client.write_text(CLIENT)
        client.chmod(0o755)

    def run_script(self, *arguments: str, **environment: str) -> tuple[int, str, str]:
        """Exit code, output and complaints."""
        out, complaints = io.StringIO(), io.StringIO()
        workspace = ["--workspace", str(self.folder / "deep" / "workspace")]
        path = f"{self.folder}:/usr/bin:/bin" if environment.pop("with_client", "yes") == "yes" else "/nowhere"
        with (
            mock.patch.dict(os.environ, {"PATH": path, **environment}),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(complaints),
        ):
            try:
                code = images.main([*arguments, *workspace])
            except SystemExit as ended:
                code = int(ended.code or 0)
        return code, out.getvalue(), complaints.getvalue()

    def builds(self) -> list[list[str]]:
        calls = (self.folder / "calls").read_text().splitlines()
        return [call.split("|")[:-1] for call in calls if "|build|" in call]

    def test_the_arguments_of_the_readme_build_both_images(self) -> None:
        names = ["--primary-image", "p", "--shadow-image", "s", "--internal-port", "9300"]
        code, said, _ = self.run_script(*SEED, *names, "--agent-binary", str(self.agent))
        self.assertEqual(0, code)
        primary, shadow = self.builds()
        for call, name, target in ((primary, "p", "primary"), (shadow, "s", "shadow")):
            self.assertEqual("1", call[0])
            self.assertEqual(name, call[call.index("--tag") + 1])
            self.assertEqual(target, call[call.index("--target") + 1])
            self.assertIn("INTERNAL_PORT=9300", call)
            self.assertIn("AGENT=binary", call)
        self.assertIn("PRIMARY_NODES=host.docker.internal:9200 host.docker.internal:9201", primary)
        self.assertIn("SHADOW_URL=http://host.docker.internal:81", primary)
        self.assertIn("SHADOW_NODES=host.docker.internal:9202 host.docker.internal:9203", shadow)
        self.assertIn("Primary HAProxy image available locally w/ tag: p (123 MB)", said)

    def test_without_an_agent_the_sources_are_what_is_sent(self) -> None:
        code, _, _ = self.run_script(*SEED)
        self.assertEqual(0, code)
        context = Path(self.builds()[0][-1])
        self.assertIn("CARGO_PROFILE=release", self.builds()[0])
        for name in (
            "Cargo.lock",
            ".dockerignore",
            "haproxy/Dockerfile",
            "haproxy/entrypoint",
            "spoa-agent/src/main.rs",
        ):
            self.assertTrue((context / name).is_file(), name)
        self.assertFalse((context / "demo").exists())

    def test_a_second_build_leaves_nothing_of_the_first(self) -> None:
        self.run_script(*SEED)
        self.run_script(*SEED, "--agent-binary", str(self.agent))
        context = Path(self.builds()[-1][-1])
        found = sorted(str(file.relative_to(context)) for file in context.rglob("*") if file.is_file())
        self.assertEqual(["haproxy/Dockerfile", "haproxy/entrypoint", "spoa-agent"], found)

    def test_nodes_may_be_ipv6_share_a_port_and_speak_tls(self) -> None:
        nodes = ["[2001:db8::1]:9200", "[2001:db8::2]:9200", "https://es3.example:9200", "http://es4:9200/"]
        side = ["--shadow-haproxy", "https://[2001:db8::9]:81", "--shadow-nodes", "es5:9200"]
        code, said, _ = self.run_script("--primary-nodes", *nodes, *side, "--dry-run")
        self.assertEqual(0, code)
        self.assertIn("[2001:db8::1]:9200 [2001:db8::2]:9200 https://es3.example:9200 es4:9200", said)
        self.assertIn("SHADOW_URL=https://[2001:db8::9]:81", said)

    def test_a_wrong_address_is_named_with_the_way_out(self) -> None:
        for wrong, why in (
            ("es1", "the port is missing"),
            ("es1:0", "not from 1 to 65535"),
            ("2001:db8::1:9200", "needs brackets"),
            ("[es1]:9200", "do not hold an IPv6 address"),
            ("ftp://es1:9200", "not http or https"),
            ("https://user:secret@es1:9200", "credentials"),
            ("http://es1:9200/path", "port is missing"),
            ("es 1:9200", "not a host name"),
        ):
            code, _, said = self.run_script(
                "--primary-nodes", wrong, "--shadow-haproxy", "h:81", "--shadow-nodes", "n:1"
            )
            self.assertEqual(2, code, wrong)
            self.assertIn(why, said)

    def test_a_port_that_needs_a_capability_is_refused(self) -> None:
        code, _, said = self.run_script(*SEED, "--internal-port", "80")
        self.assertEqual((2, True), (code, "from 1024" in said))

    def test_each_branch_has_a_base_and_any_other_base_can_be_named(self) -> None:
        for more, base in (
            ([], "debian:trixie-slim"),
            (["--haproxy-branch", "2.6"], "debian:bookworm-slim"),
            (["--base-image", "haproxy:3.2"], "haproxy:3.2"),
        ):
            _, said, _ = self.run_script(*SEED, *more, "--dry-run")
            self.assertEqual(2, said.count(f"BASE_IMAGE={base}"))
        code, _, _ = self.run_script(*SEED, "--haproxy-branch", "2.6", "--base-image", "x")
        self.assertEqual(2, code)

    def test_without_an_engine_it_says_so_and_what_to_do(self) -> None:
        code, _, said = self.run_script(*SEED, NO_ENGINE="yes")
        self.assertEqual(1, code)
        self.assertIn("no Docker engine answers", said)
        self.assertIn("unix:///gone", said)
        self.assertIn("DOCKER_HOST", said)
        self.assertFalse((self.folder / "deep").exists())

    def test_without_a_client_it_says_so(self) -> None:
        code, _, said = self.run_script(*SEED, with_client="no")
        self.assertEqual((1, True), (code, "no docker in PATH" in said))

    def test_a_client_that_cannot_build_is_passed_over(self) -> None:
        code, _, said = self.run_script(*SEED, "--docker", str(self.folder / "docker"), BUILDX="1")
        self.assertEqual((1, True), (code, "buildx is missing" in said))
        code, _, _ = self.run_script(
            *SEED, "--docker", str(self.folder / "docker"), BUILDX="1", VERSION="20.10.24+dfsg1"
        )
        self.assertEqual(0, code)

    def test_a_build_that_fails_is_a_failure(self) -> None:
        code, _, said = self.run_script(*SEED, BUILD="1")
        self.assertEqual((1, True), (code, "primary image could not be built" in said))
        self.assertEqual(1, len(self.builds()))

    def test_one_side_can_be_built_alone(self) -> None:
        self.run_script(*SEED, "--only", "shadow")
        self.assertEqual(["shadow"], [call[call.index("--target") + 1] for call in self.builds()])
