"""opensearch-benchmark: installed once into a virtual environment of its own, then run without asking the network anything
but what a public workload needs."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import documents
from .target import Target

HERE = Path(__file__).resolve().parent.parent
OURS = "ours"
# The public workloads that the images of the first demonstration ran, in this order.
SEED = ("geonames", "http_logs", "nested", "nyc_taxis")
# Those take these parameters, and refuse every other one.
SEED_THROUGHPUT = 0.5
SEED_BULK_SIZE = 10
# Those of its dependencies that must not be built here, and the Pythons that all of them are published for ready-made.
NEED_COMPILERS = "numpy,pandas,pillow,grpcio,h5py,cryptography,psutil,aiohttp"
PYTHONS = ("3.11", "3.12")
# Where the public workloads are kept, and how long we wait for it.
SOURCE = ("github.com", 443)
NETWORK_SECONDS = 10
# It ends its workers itself when it is asked to; this long it may take.
STOP_SECONDS = 20


class BenchmarkError(Exception):
    """It ran, and something failed. The text is for people."""


class NotInstallable(BenchmarkError):
    """opensearch-benchmark cannot be had here."""


@dataclass(frozen=True)
class Load:
    """What is not said is left to the workload. `throughput` is requests per second of each task."""

    throughput: float | None = None
    clients: int = 1
    bulk_size: int | None = None
    iterations: int | None = None
    seconds: int | None = None
    test_mode: bool = False

    def parameters(self, workload: str) -> dict[str, float]:
        """As the workload names them."""
        if workload == OURS:
            named = {
                "clients": self.clients,
                "target_throughput": self.throughput,
                "bulk_size": self.bulk_size,
                "iterations": self.iterations,
                "time_period": self.seconds,
            }
            return {name: value for name, value in named.items() if value is not None}
        return {
            "target_throughput": SEED_THROUGHPUT if self.throughput is None else self.throughput,
            "bulk_size": self.bulk_size or SEED_BULK_SIZE,
            "bulk_indexing_clients": self.clients,
            "search_clients": self.clients,
        }


def found_or_installed(cache: Path, say: Callable[[str], None]) -> Path:
    """The program: the one in PATH when it is of the pinned version, else one in `cache`, where it is installed when it is missing."""
    present = shutil.which("opensearch-benchmark")
    if present and pinned_version() in version_of(present):
        return Path(present)
    folder = cache / "benchmark"
    program, made_of = folder / "bin" / "opensearch-benchmark", folder / "made-of"
    wanted = hashlib.sha256(
        (HERE / "requirements.txt").read_bytes() + (HERE / "constraints.txt").read_bytes()
    ).hexdigest()
    if not (made_of.is_file() and made_of.read_text() == wanted):
        say(f"installs opensearch-benchmark {pinned_version()} into {folder} (once, about 100 MB)")
        install(folder)
        made_of.write_text(wanted)
    return program


def pinned_version() -> str:
    lines = (HERE / "requirements.txt").read_text().splitlines()
    return next(line.partition("==")[2] for line in lines if line.startswith("opensearch-benchmark=="))


def version_of(program: str) -> str:
    return subprocess.run([program, "--version"], check=False, capture_output=True, text=True).stdout


def install(folder: Path) -> None:
    python = suitable_python()
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    for command in (
        [python, "-m", "venv", str(folder)],
        [str(folder / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", "--prefer-binary", f"--only-binary={NEED_COMPILERS}",
         "--requirement", str(HERE / "requirements.txt"), "--constraint", str(HERE / "constraints.txt")],
    ):  # fmt: skip
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode != 0:
            shutil.rmtree(folder, ignore_errors=True)
            said = "\n    ".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-5:])
            raise NotInstallable(
                f"opensearch-benchmark cannot be installed here; `{' '.join(command[:4])}` said:\n    {said}"
            )


def suitable_python() -> str:
    """An interpreter that its dependencies are published for: this one, or another one in PATH."""
    if "{}.{}".format(*sys.version_info) in PYTHONS:
        return sys.executable
    for version in reversed(PYTHONS):
        found = shutil.which(f"python{version}")
        if found and subprocess.run([found, "-c", ""], check=False, capture_output=True).returncode == 0:
            return found
    mine = "{}.{}".format(*sys.version_info)
    raise NotInstallable(f"opensearch-benchmark needs Python {' or '.join(PYTHONS)}, and there is only {mine}")


def run(program: Path, workload: str, target: Target, load: Load, cache: Path, verbose: bool = False) -> None:
    """Runs one workload to its end. Raises when it, or any request that it sent, failed."""
    cache.mkdir(parents=True, exist_ok=True)
    if workload != OURS:
        check_network(workload, cache)
    with tempfile.TemporaryDirectory(prefix="traffic-gen-") as name:
        folder = Path(name)
        results = folder / "results.csv"
        command = [str(program), *arguments(workload, target, load, folder, results)]
        environment = {**os.environ, "BENCHMARK_HOME": str(cache / "home")}
        with output(folder / "output", verbose) as out:
            code = wait_for(command, environment, out)
        if code != 0 or not results.exists():
            said = "" if verbose else "\n    " + "\n    ".join(last_lines(folder / "output"))
            raise BenchmarkError(f"opensearch-benchmark ended with exit code {code} in the workload '{workload}'{said}")
        failed = failed_tasks(results)
    if failed:
        raise BenchmarkError(f"requests of the workload '{workload}' failed: {', '.join(failed)}; "
                             f"{cache}/home/.osb/logs tells more")  # fmt: skip


def check_network(workload: str, cache: Path) -> None:
    """Says at once what git would say after minutes. What was fetched before, and what a proxy reaches, is not judged here."""
    if (cache / "home" / ".osb" / "benchmarks" / "workloads").is_dir() or os.environ.get(
        "https_proxy", os.environ.get("HTTPS_PROXY")
    ):
        return
    try:
        socket.create_connection(SOURCE, NETWORK_SECONDS).close()
    except OSError as error:
        raise BenchmarkError(f"the workload '{workload}' is fetched from {SOURCE[0]}, which cannot be reached: {error}; "
                             f"--workloads {OURS} needs no network") from None  # fmt: skip


def arguments(workload: str, target: Target, load: Load, folder: Path, results: Path) -> list[str]:
    """Without the program. Writes what must not be on a command line to `folder`."""
    options = folder / "client-options.json"
    write_secret(options, json.dumps({"default": client_options(target)}))
    parameters = ",".join(f"{name}:{value:g}" for name, value in load.parameters(workload).items())
    made = [
        "run", "--pipeline=benchmark-only", f"--target-hosts={target.address}", f"--client-options={options}",
        f"--workload-params={parameters}", "--results-format=csv", f"--results-file={results}",
    ]  # fmt: skip
    if load.test_mode:
        made.append("--test-mode")
    if workload == OURS:
        # A copy: it writes beside the documents.
        ours = shutil.copytree(
            HERE / "workload", folder / "workload", ignore=shutil.ignore_patterns("documents*", "__pycache__")
        )
        documents.write(ours)
        return [*made, "--offline", f"--workload-path={ours}"]
    return [*made, f"--workload={workload}"]


def client_options(target: Target) -> dict[str, object]:
    options: dict[str, object] = {"timeout": 60}
    if target.tls:
        options.update(use_ssl=True, verify_certs=target.verify)
        if target.ca_file:
            options["ca_certs"] = str(target.ca_file)
    if target.user is not None:
        options.update(basic_auth_user=target.user, basic_auth_password=target.password or "")
    return options


def write_secret(path: Path, text: str) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)


@contextmanager
def output(path: Path, verbose: bool) -> Iterator[int | None]:
    if verbose:
        yield None
        return
    with path.open("wb") as file:
        yield file.fileno()


def wait_for(command: list[str], environment: dict[str, str], out: int | None) -> int:
    """Its exit code. It and the workers that it starts are a process group, which does not outlive us."""
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=out,
                               stderr=None if out is None else subprocess.STDOUT, start_new_session=True)  # fmt: skip
    try:
        return process.wait()
    finally:
        end_group(process)


def end_group(process: subprocess.Popen[bytes]) -> None:
    signal_group(process, signal.SIGINT)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        pass
    finally:
        signal_group(process, signal.SIGKILL)
        process.wait()


def signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return


def last_lines(path: Path, count: int = 25) -> list[str]:
    return [line for line in path.read_text(errors="replace").splitlines() if line.strip()][-count:]


def failed_tasks(results: Path) -> list[str]:
    """It goes on after errors and ends well; its results tell of them."""
    with results.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [f"{row['Task']} ({row['Value']} {row['Unit']})" for row in rows
            if row["Metric"] == "error rate" and float(row["Value"] or 0) > 0]  # fmt: skip
