"""The containers' runtime against a stand-in for the `docker` command, which notes what it is asked."""

from __future__ import annotations

import contextlib
import io
import json
import stat
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from docker.containers import Containers, Docker, DockerError
from stage import docker
from stage.docker import ContainerBroker, DockerRuntime, Images
from stage.processes import StageError
from stage.running import Wanted, read_headers

# Keeps containers and networks as files with their label; a file `fail` names words that make it fail.
STAND_IN = (
    f"#!{sys.executable} -IS"
    + """
import json, pathlib, sys
here = pathlib.Path(__file__).parent
words = sys.argv[1:]
with open(here / "asked", "a") as asked:
    asked.write(json.dumps(words) + "\\n")
made = here / "made"
made.mkdir(exist_ok=True)
def after(option):
    return words[words.index(option) + 1]
def ours(kind):
    label = after("--filter").partition("=")[2]
    found = [path for path in made.iterdir() if path.read_text().split(maxsplit=2)[:2] == [kind, label]]
    return [path.name for path in sorted(found, key=lambda path: int(path.read_text().split()[2]), reverse=True)]
def make(kind, name):
    if (made / name).exists():
        sys.exit(f'Conflict. The container name "/{name}" is already in use')
    (made / name).write_text(f"{kind} {after('--label')} {len((here / 'asked').read_text().splitlines())}")
if words[0] == "run":
    # One that does not start is there all the same.
    make("container", after("--name"))
for line in (here / "fail").read_text().splitlines() if (here / "fail").exists() else []:
    wanted, _, message = line.partition("|")
    if all(word in " ".join(words) for word in wanted.split()):
        sys.exit(message)
if words[0] == "version":
    print("99.0")
elif words[:2] == ["network", "create"]:
    make("network", words[-1])
elif words[:2] == ["network", "ls"]:
    print("\\n".join(ours("network")))
elif words[:2] == ["network", "rm"] or words[0] == "rm":
    (made / words[-1]).unlink()
elif words[0] == "ps":
    print("\\n".join(f"{name} {name}" for name in ours("container")))
elif words[0] == "inspect":
    print("true")
elif words[0] == "logs":
    print("its last words")
"""
)

IMAGES = Images("ours-primary", "ours-shadow", "elasticsearch", "opensearch", "kafka")


class DockerTest(unittest.TestCase):
    def setUp(self) -> None:
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.folder = Path(holder.name)
        self.docker = self.folder / "docker"
        self.docker.write_text(STAND_IN)
        self.docker.chmod(self.docker.stat().st_mode | stat.S_IXUSR)
        self.said: list[str] = []

    def containers(self) -> Containers:
        return Containers(Docker(str(self.docker)), "demo", say=self.said.append)

    def asked(self, *first: str) -> list[list[str]]:
        lines = (self.folder / "asked").read_text().splitlines()
        words: list[list[str]] = [json.loads(line) for line in lines]
        return [line for line in words if line[: len(first)] == list(first)]

    def left(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "made").iterdir())

    def fail(self, words: str, message: str) -> None:  # type: ignore[override]
        (self.folder / "fail").write_text(f"{words}|{message}\n")

    def start(self, *, kafka: bool = False, shadow: str = "elasticsearch") -> list[str]:
        """Starts all, and returns the names of what ran."""
        wanted = Wanted("elasticsearch", shadow, {"primary": 0, "shadow": 0}, {"primary": [0, 0], "shadow": [0, 0]},
                        host="127.0.0.1", kafka=kafka, kafka_port=0)  # fmt: skip
        with mock.patch.object(docker, "fetch", lambda url: b'{"timed_out":false}'), self.containers() as containers:
            DockerRuntime(wanted, IMAGES, containers, self.said.append).start()
            return list(containers.started)

    def created(self, name: str) -> list[str]:
        return next(words for words in self.asked("run") if words[words.index("--name") + 1] == name)

    def environment(self, name: str) -> dict[str, str]:
        words = self.created(name)
        pairs = (words[at + 1].partition("=") for at, word in enumerate(words) if word == "--env")
        return {key: value for key, _, value in pairs}

    def test_six_containers_start_from_the_back_to_the_front_and_nothing_is_left(self) -> None:
        names = self.start()
        nodes = [f"{role}-cluster-node-{number}" for role in ("primary", "shadow") for number in (1, 2)]
        self.assertEqual(names, [*nodes, "haproxy-shadow", "haproxy-primary"])
        self.assertEqual(self.left(), [])
        removed = [words[-1] for words in self.asked("rm")]
        self.assertEqual(removed, names[::-1])

    def test_our_images_get_no_rights_and_look_up_the_names_of_their_nodes(self) -> None:
        self.start(kafka=True)
        words = " ".join(self.created("haproxy-primary"))
        for locked in ("--read-only", "--cap-drop ALL", "--security-opt no-new-privileges"):
            self.assertIn(locked, words)
        environment = self.environment("haproxy-primary")
        self.assertEqual(environment["PRIMARY_NODES"], "primary-cluster-node-1:9200 primary-cluster-node-2:9200")
        self.assertEqual(environment["HAPROXY_CONFIG_RESOLVE_NODES"], "true")
        self.assertEqual(environment["SHADOW_URL"], "http://haproxy-shadow:9200")
        self.assertEqual(environment["KAFKA_BROKERS"], "kafka:9092")
        shadow = self.environment("haproxy-shadow")
        self.assertEqual(shadow["SHADOW_NODES"], "shadow-cluster-node-1:9200 shadow-cluster-node-2:9200")
        self.assertNotIn("SHADOW_URL", shadow)
        self.assertNotIn("KAFKA_BROKERS", shadow)

    def test_each_listener_of_the_broker_advertises_what_its_clients_can_reach(self) -> None:
        environment = ContainerBroker(19092, "t", self.containers()).environment()
        self.assertEqual(environment["KAFKA_ADVERTISED_LISTENERS"], "INSIDE://kafka:9092,OUTSIDE://localhost:19092")
        names = {entry.partition(":")[0] for entry in environment["KAFKA_LISTENERS"].split(",")}
        mapped = {entry.partition(":")[0] for entry in environment["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(",")}
        self.assertEqual(names, mapped)

    def test_the_nodes_of_a_cluster_find_each_other(self) -> None:
        self.start(shadow="opensearch")
        primary, shadow = self.environment("primary-cluster-node-2"), self.environment("shadow-cluster-node-2")
        self.assertEqual(primary["discovery.seed_hosts"], "primary-cluster-node-1,primary-cluster-node-2")
        self.assertEqual(primary["cluster.initial_master_nodes"], "primary-cluster-node-1")
        self.assertEqual(shadow["cluster.initial_cluster_manager_nodes"], "shadow-cluster-node-1")
        self.assertEqual(shadow["DISABLE_SECURITY_PLUGIN"], "true")
        self.assertEqual(self.created("shadow-cluster-node-1")[-1], "opensearch")

    def test_what_was_made_before_a_failure_is_removed(self) -> None:
        self.fail("run shadow-cluster-node-1", "Bind for 0.0.0.0:9202 failed: port is already allocated")
        with self.assertRaisesRegex(DockerError, "Bind for"):
            self.start()
        self.assertEqual(self.left(), [])
        self.assertEqual(len(self.asked("rm")), 3)

    def test_a_container_of_somebody_else_stays_and_is_named(self) -> None:
        (self.folder / "made").mkdir()
        (self.folder / "made" / "haproxy-shadow").write_text("container other 0")
        with self.assertRaisesRegex(DockerError, 'name "/haproxy-shadow" is already in use'):
            self.start()
        self.assertEqual(self.left(), ["haproxy-shadow"])

    def test_what_cannot_be_removed_is_said_and_the_rest_is_removed(self) -> None:
        self.fail("rm --force haproxy-primary", "device is busy")
        self.start()
        self.assertEqual(self.left(), ["haproxy-primary"])
        self.assertTrue(any("device is busy" in line for line in self.said))

    def test_no_engine_is_no_error_unless_containers_are_asked_for(self) -> None:
        self.fail("version", "Cannot connect to the Docker daemon")
        self.assertIsNone(docker.find_engine(str(self.docker), must=False, announce=self.said.append))
        with self.assertRaisesRegex(StageError, "Cannot connect to the Docker daemon.*--runtime local"):
            docker.find_engine(str(self.docker), must=True, announce=self.said.append)
        (self.folder / "fail").unlink()
        found = docker.find_engine(str(self.docker), must=True, announce=self.said.append)
        self.assertEqual(found and found.client, str(self.docker))

    def test_an_interruption_removes_everything_too(self) -> None:
        with self.assertRaises(KeyboardInterrupt), self.containers() as containers:
            containers.run("one", "image")
            raise KeyboardInterrupt
        self.assertEqual(self.left(), [])

    def test_a_container_that_was_made_while_we_were_interrupted_is_found_by_its_label(self) -> None:
        with self.containers() as containers:
            (self.folder / "made" / "lost").write_text(f"container {containers.label} 1")
            (self.folder / "made" / "another").write_text(f"container {containers.label}-other 1")
        self.assertEqual(self.left(), ["another"])

    def test_the_images_are_built_by_our_script_and_its_failure_is_ours(self) -> None:
        script = self.folder / "build.py"
        for code in (0, 1):
            script.write_text(f"import sys; print(sys.argv[1:]); sys.exit({code})")
            wanted = Wanted("elasticsearch", "elasticsearch", {}, {})
            runtime = DockerRuntime(wanted, IMAGES, self.containers(), self.said.append, build_script=script)
            with contextlib.ExitStack() as stack:
                if code:
                    stack.enter_context(self.assertRaisesRegex(StageError, "could not be built"))
                runtime.build(["--haproxy-branch", "2.6"])
        self.assertTrue(any("'--haproxy-branch', '2.6'" in line for line in self.said))

    def test_headers_of_a_message_are_read_as_the_consumers_print_them(self) -> None:
        self.assertEqual(
            read_headers("kind:exchange,id:a-b,part:2/3\tnull"), {"kind": "exchange", "id": "a-b", "part": "2/3"}
        )


class OptionsTest(unittest.TestCase):
    def test_what_does_not_go_together_is_refused(self) -> None:
        from haproxy_demo.options import read_options

        for words in (
            ["--keep"],
            ["--primary-port", "81"],
            ["--primary-port", "70000"],
            ["--nodes", "builtin", "--runtime", "docker"],
            ["--nodes", "builtin", "--shadow-engine", "opensearch"],
            ["--agent", "/no/such/file"],
        ):
            said = io.StringIO()
            with self.subTest(words), contextlib.redirect_stderr(said), self.assertRaises(SystemExit):
                read_options(words)
            self.assertIn(words[0], said.getvalue())
