"""How opensearch-benchmark is called, and how its end is read. The program here is a stand-in."""

from __future__ import annotations

import json
import stat
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from traffic_gen import benchmark
from traffic_gen.benchmark import BenchmarkError, Load
from traffic_gen.target import Target

# Notes its arguments and options, and writes results.
STAND_IN = (
    f"#!{sys.executable} -IS"
    + """
import pathlib, shutil, sys
here = pathlib.Path(__file__).parent
values = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
(here / "arguments").write_text("\\n".join(sys.argv[1:]))
options = pathlib.Path(values["--client-options"])
(here / "mode").write_text(oct(options.stat().st_mode & 0o777))
shutil.copy(options, here / "options")
print("what it says")
rate, code = (here / "ending").read_text().split()
if rate != "none":
    rows = "Metric,Task,Value,Unit\\nerror rate,search,0.00,%\\nMean Throughput,bulk,,docs/s\\nerror rate,bulk," + rate + ",%\\n"
    pathlib.Path(values["--results-file"]).write_text(rows)
sys.exit(int(code))
"""
)


class Benchmark(unittest.TestCase):
    def setUp(self) -> None:
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.folder = Path(holder.name)
        self.program = self.folder / "opensearch-benchmark"
        self.program.write_text(STAND_IN)
        self.program.chmod(self.program.stat().st_mode | stat.S_IXUSR)

    def run_it(
        self, target: Target, ending: str = "0.00 0", workload: str = "ours", load: Load | None = None
    ) -> list[str]:
        (self.folder / "ending").write_text(ending)
        benchmark.run(self.program, workload, target, load or Load(), self.folder / "cache")
        return (self.folder / "arguments").read_text().splitlines()

    def test_our_workload_runs_without_the_network(self) -> None:
        words = self.run_it(Target("127.0.0.1", 9200), load=Load(throughput=5, clients=2, iterations=7, test_mode=True))
        self.assertIn("--offline", words)
        self.assertIn("--test-mode", words)
        self.assertIn("--target-hosts=127.0.0.1:9200", words)
        self.assertIn("--workload-params=clients:2,target_throughput:5,iterations:7", words)

    def test_a_public_workload_gets_only_the_parameters_that_it_knows(self) -> None:
        with mock.patch("socket.create_connection"):
            words = self.run_it(Target("h", 80), workload="geonames", load=Load(clients=3))
        self.assertIn("--workload=geonames", words)
        self.assertNotIn("--offline", words)
        self.assertIn(
            "--workload-params=target_throughput:0.5,bulk_size:10,bulk_indexing_clients:3,search_clients:3", words
        )

    def test_a_public_workload_without_a_network_is_told_with_what_needs_none(self) -> None:
        unreachable = mock.patch("socket.create_connection", side_effect=OSError("no route"))
        with unreachable, self.assertRaisesRegex(BenchmarkError, "geonames.*no route.*--workloads ours"):
            self.run_it(Target("h", 80), workload="geonames")

    def test_our_workload_is_read_only_where_it_is_kept(self) -> None:
        before = sorted((benchmark.HERE / "workload").iterdir())
        path = next(word for word in self.run_it(Target("h", 80)) if word.startswith("--workload-path="))
        self.assertNotIn(str(benchmark.HERE), path)
        self.assertEqual(before, sorted((benchmark.HERE / "workload").iterdir()))

    def test_a_password_is_in_a_private_file_and_on_no_command_line(self) -> None:
        words = self.run_it(Target("h", 443, tls=True, verify=False, user="me", password="secret"))
        self.assertNotIn("secret", " ".join(words))
        self.assertEqual((self.folder / "mode").read_text(), "0o600")
        options = json.loads((self.folder / "options").read_text())["default"]
        self.assertEqual(options["basic_auth_password"], "secret")
        self.assertEqual((options["use_ssl"], options["verify_certs"]), (True, False))

    def test_a_failed_request_fails_the_run_although_the_program_ends_well(self) -> None:
        with self.assertRaisesRegex(BenchmarkError, r"bulk \(12.50 %\)"):
            self.run_it(Target("h", 80), "12.50 0")

    def test_a_program_that_fails_is_told_with_what_it_said(self) -> None:
        with self.assertRaisesRegex(BenchmarkError, "exit code 64(.|\n)*what it says"):
            self.run_it(Target("h", 80), "none 64")

    def test_an_end_without_results_is_a_failure(self) -> None:
        with self.assertRaises(BenchmarkError):
            self.run_it(Target("h", 80), "none 0")

    def test_the_version_is_pinned(self) -> None:
        self.assertRegex(benchmark.pinned_version(), r"^2\.4\.\d+$")
