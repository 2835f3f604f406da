"""Ports, processes, and reading a cluster's documents."""

from __future__ import annotations

import socket
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from stage import clusters
from stage.processes import Processes, StageError, accepts, free_ports, port_or_another


class PortsTest(unittest.TestCase):
    def test_a_port_is_given_once(self) -> None:
        ports = [port for _ in range(20) for port in free_ports(4)]
        self.assertEqual(len(ports), len(set(ports)))

    def test_a_port_that_is_taken_is_replaced_and_the_reason_told(self) -> None:
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            wanted = other.getsockname()[1]
            port, why = port_or_another("127.0.0.1", wanted)
        self.assertNotEqual(port, wanted)
        self.assertEqual(why, "is taken")

    def test_a_port_that_is_free_is_the_one(self) -> None:
        (wanted,) = free_ports(1)
        clusters_port = wanted + 0
        with mock.patch("stage.processes.handed_out", set()):
            self.assertEqual(port_or_another("127.0.0.1", clusters_port), (wanted, ""))
            self.assertEqual(port_or_another("127.0.0.1", clusters_port)[1], "is taken by another part of the demo")

    def test_a_port_that_is_not_permitted_is_replaced(self) -> None:
        denied = mock.patch("socket.socket.bind", side_effect=PermissionError(13, "Permission denied"))
        with denied, mock.patch("stage.processes.free_ports", return_value=[1]):
            self.assertEqual(port_or_another("127.0.0.1", 80), (1, "is not permitted for this user"))


class ProcessesTest(unittest.TestCase):
    def setUp(self) -> None:
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.folder = Path(holder.name)

    def test_they_are_gone_after_an_error(self) -> None:
        with self.assertRaises(ZeroDivisionError), Processes(self.folder) as processes:
            child = processes.start("one", sys.executable, "-c", "import time; time.sleep(600)")
            raise ZeroDivisionError
        self.assertIsNotNone(child.process.returncode)

    def test_one_that_ignores_sigterm_is_killed(self) -> None:
        ignoring = "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"
        with Processes(self.folder, stop_seconds=0.2) as processes:
            child = processes.start("one", sys.executable, "-c", ignoring)
            processes.wait_until(lambda: "ready" in child.log.read_text(), "it ignores")
        self.assertEqual(child.process.returncode, -9)

    def test_its_standard_input_ends_with_us_and_not_before(self) -> None:
        with Processes(self.folder) as processes:
            child = processes.start(
                "one", sys.executable, "-c", "import sys; print('on'); sys.stdout.flush(); sys.stdin.read()"
            )
            processes.wait_until(lambda: "on" in child.log.read_text(), "it reads")
            self.assertIsNone(child.process.poll())

    def test_an_early_end_is_told_with_its_last_words(self) -> None:
        with Processes(self.folder) as processes:
            processes.start("one", sys.executable, "-c", "import sys; sys.exit('no disk')")
            with self.assertRaisesRegex(StageError, "one ended early, with exit code 1(.|\n)*no disk"):
                processes.wait_until(lambda: False, "never")


class ClustersTest(unittest.TestCase):
    def test_the_built_in_cluster_starts_and_gives_its_documents(self) -> None:
        with tempfile.TemporaryDirectory() as name, Processes(Path(name)) as processes:
            cluster = clusters.Cluster(clusters.BUILTIN, "primary-cluster", free_ports(2))
            cluster.start(processes, Path(name))
            cluster.wait(processes)
            self.assertTrue(all(accepts(port) for port in cluster.ports))
            clusters.ask(f"{cluster.node_urls[0]}/i/_doc/1", "PUT", {"n": 1})
            documents = cluster.documents()
        self.assertEqual([document["_source"] for document in documents["i"]], [{"n": 1}])

    def test_documents_of_real_nodes_are_read_page_by_page(self) -> None:
        pages = [
            [{"_id": "1", "_source": {"n": 1}}, {"_id": "A" * 20, "_source": {}, "_routing": "r"}],
            [{"_id": "3", "_source": {}}],
            [],
        ]
        asked: list[str] = []

        def answer(url: str, method: str = "GET", body: object = None) -> object:
            asked.append(f"{method} {url}")
            if "_cat/indices" in url:
                return [{"index": "i"}, {"index": ".hidden"}]
            return {"_scroll_id": "s", "hits": {"hits": pages.pop(0)}} if "_search" in url and method == "POST" else {}

        with mock.patch.object(clusters, "ask", answer):
            documents = clusters.all_documents("http://h", builtin=False)
        self.assertEqual(list(documents), ["i"])
        self.assertEqual(
            [(d["_id"], d["id_generated"]) for d in documents["i"]], [("1", False), ("A" * 20, True), ("3", False)]
        )
        self.assertEqual(documents["i"][1]["_routing"], "r")
        self.assertEqual(asked[0], "POST http://h/_refresh")
        self.assertEqual(asked[-1], "DELETE http://h/_search/scroll")
