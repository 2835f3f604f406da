"""The options."""

import contextlib
import io
import os
import tempfile
import unittest
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from traffic_gen import cli

from .cluster import Cluster


def complaint(*words: str) -> str:
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.suppress(SystemExit):
        cli.read_options(list(words))
    return said.getvalue()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


class Options(unittest.TestCase):
    def test_without_any_it_is_our_workload_through_the_demo(self) -> None:
        options = cli.read_options([])
        self.assertEqual(
            (options.target.address, options.workloads, options.generator), ("127.0.0.1:80", ["ours"], "benchmark")
        )

    def test_the_four_public_workloads_have_one_word(self) -> None:
        self.assertEqual(
            cli.read_options(["--workloads", "seed"]).workloads, ["geonames", "http_logs", "nested", "nyc_taxis"]
        )

    def test_the_environment_says_what_is_not_typed(self) -> None:
        given = {"TRAFFIC_GEN_TARGET": "other:9200", "TRAFFIC_GEN_CLIENTS": "3", "TRAFFIC_GEN_TEST_MODE": "1"}
        with mock.patch.dict(os.environ, given):
            options = cli.read_options(["--clients", "5"])
        self.assertEqual((options.target.address, options.clients, options.test_mode), ("other:9200", 5, True))

    def test_a_mistake_in_the_environment_is_one(self) -> None:
        for name, value in (("CLIENTS", "many"), ("GENERATOR", "other"), ("TEST_MODE", "perhaps")):
            with self.subTest(name), mock.patch.dict(os.environ, {f"TRAFFIC_GEN_{name}": value}):
                self.assertIn(value, complaint())

    def test_what_does_not_go_together_is_refused(self) -> None:
        for words in (
            ["--workloads", "geonames", "--iterations", "3"],
            ["--iterations", "3", "--duration", "3"],
            ["--generator", "builtin", "--test-mode"],
            ["--requests", "10"],
            ["--user", "me"],
            ["--ca-file", "no-such-file", "--target", "https://h"],
            ["--tls-insecure"],
            ["--workloads", "other"],
            ["--throughput", "0"],
            ["--throughput", "nan"],
        ):
            with self.subTest(words):
                self.assertIn(words[0], complaint(*words))

    def test_a_password_comes_from_a_file_or_the_environment(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "password"
            file.write_text("secret\n")
            options = cli.read_options(["--user", "me", "--password-file", str(file)])
        self.assertEqual(options.target.password, "secret")
        with mock.patch.dict(os.environ, {"TRAFFIC_GEN_PASSWORD": "other"}):
            self.assertEqual(cli.read_options(["--user", "me"]).target.password, "other")

    def test_a_target_that_does_not_answer_is_told_at_once(self) -> None:
        with Cluster() as cluster:
            address = cluster.target.address
        said = io.StringIO()
        with mock.patch("sys.argv", ["run.py", "--target", address]), contextlib.redirect_stderr(said):
            self.assertEqual(cli.main(), cli.EXIT_FAILED)
        self.assertIn(f"http://{address} does not answer", said.getvalue())

    def test_the_builtin_generator_fails_when_the_cluster_does(self) -> None:
        for status, code in ((200, 0), (404, 0), (503, cli.EXIT_FAILED)):
            with self.subTest(status), Cluster(status) as cluster, quiet():
                words = ["run.py", "--generator", "builtin", "--requests", "20", "--target", cluster.target.address]
                with mock.patch("sys.argv", words):
                    self.assertEqual(cli.main(), code)
