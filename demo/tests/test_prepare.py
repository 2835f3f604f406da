"""What is needed: found, installed, or told."""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
import unittest
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from haproxy_demo import package, prepare
from haproxy_demo.options import read_options
from stage.processes import StageError


@contextlib.contextmanager
def printed() -> Iterator[io.StringIO]:
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        yield said


class EnginesTest(unittest.TestCase):
    def choose(self, *words: str, installed: bool) -> tuple[tuple[str, str], str]:
        here = mock.patch.object(prepare, "engine_is_installed", lambda engine: installed)
        # An agent that is named: nothing is installed.
        with here, printed() as said:
            return prepare.choose_engines(read_options(["--agent", sys.executable, *words])), said.getvalue()

    def test_real_nodes_are_taken_when_they_can_be_had_and_it_says_so(self) -> None:
        engines, said = self.choose(installed=True)
        self.assertEqual(engines, ("elasticsearch", "elasticsearch"))
        self.assertIn("real", said)
        self.assertEqual(
            self.choose("--shadow-engine", "opensearch", installed=True)[0], ("elasticsearch", "opensearch")
        )

    def test_the_built_in_store_stands_in_and_says_what_it_is_not_and_why(self) -> None:
        engines, said = self.choose(installed=False)
        self.assertEqual(engines, ("builtin", "builtin"))
        self.assertIn("NOT Elasticsearch", said)
        self.assertIn("scripts/setup elasticsearch", said)
        self.assertEqual(self.choose("--nodes", "builtin", installed=True)[0], ("builtin", "builtin"))

    def test_what_the_built_in_store_cannot_do_is_an_error_instead(self) -> None:
        for words in (["--nodes", "real"], ["--shadow-engine", "opensearch"], ["--generator", "benchmark"]):
            with self.subTest(words), self.assertRaisesRegex(StageError, "real nodes cannot be had"):
                self.choose(*words, installed=False)


class KafkaTest(unittest.TestCase):
    def test_an_agent_that_cannot_offload_is_told_before_anything_starts(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            agent = Path(name) / "agent"
            agent.write_text("#!/bin/sh\necho --shadow-url\n")
            agent.chmod(0o755)
            with self.assertRaisesRegex(StageError, "cannot offload to Kafka"):
                prepare.prepare_broker(read_options(["--kafka", "--agent", str(agent)]), agent)


class PackageTest(unittest.TestCase):
    def test_a_package_that_is_nowhere_is_told_with_the_way_to_get_it(self) -> None:
        nowhere = mock.patch("importlib.util.find_spec", return_value=None)
        refused = self.assertRaisesRegex(package.NoPackage, "scripts/python_package path")
        with nowhere, mock.patch.object(package, "BUILT", Path("/no/such/folder")), refused:
            package.make_importable(may_build=False)

    def test_the_one_that_was_built_here_is_taken_when_nothing_may_be_built(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            (Path(name) / "spoa_agent").mkdir()
            paths: list[str] = []
            nowhere = mock.patch("importlib.util.find_spec", return_value=None)
            with mock.patch.object(sys, "path", paths), nowhere, mock.patch.object(package, "BUILT", Path(name)):
                package.make_importable(may_build=False)
            self.assertEqual(paths, [name])
