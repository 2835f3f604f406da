"""Runs the variants in turn, in a new order each round, and prints medians; see `--help`."""

from __future__ import annotations

import argparse
import random
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from stage.nginx import ANSWER_BYTES
from stage.processes import Child, Interrupted, Processes, StageError, raise_on_signals

from .variants import Variant, start_all

CATCH_UP_SECONDS = 120


@dataclass(frozen=True)
class Run:
    """CPU in seconds per 100,000 requests."""

    rate: float
    requests: int
    failed: int
    not_captured: int
    agent_cpu: float
    haproxy_cpu: float
    agent_mib: float


def main() -> int:
    arguments = read_arguments()
    raise_on_signals()
    folder = Path(tempfile.mkdtemp(prefix="spoa-bench-"))
    try:
        with Processes(folder) as processes:
            measure(arguments, folder, processes)
            return 0
    except StageError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except Interrupted as interrupted:
        print(f"bench: ended by {interrupted}", file=sys.stderr)
        return 130
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench --haproxy",
        description="Requests per second through HAProxy without SPOE (none), with capture of requests and responses "
        "into the journal (capture), and with traffic log and mirror too (everything). Closed loop: for throughput, not for latency.",
    )
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="default: %(default)s")
    parser.add_argument("--seconds", type=int, default=5, metavar="N", help="of each run (default: %(default)s)")
    parser.add_argument("--connections", type=int, default=64, metavar="N", help="default: %(default)s")
    parser.add_argument("--bodies", default="0,1024,16384", metavar="BYTES,..",
                        help="of the requests; 0 is GET, others are POST (default: %(default)s)")  # fmt: skip
    parser.add_argument("--agent", type=Path, metavar="FILE", help="an agent that is built already")
    parser.add_argument("--haproxy", default=shutil.which("haproxy") or "/usr/sbin/haproxy", metavar="FILE")
    arguments = parser.parse_args()
    if arguments.agent is None or not arguments.agent.is_file():
        parser.error(f"--agent: {arguments.agent} is no file; scripts/bench builds the agent and names it")
    arguments.agent = arguments.agent.resolve()
    arguments.bodies = [int(size) for size in arguments.bodies.split(",")]
    return arguments


def measure(arguments: argparse.Namespace, folder: Path, processes: Processes) -> None:
    version = subprocess.run([arguments.haproxy, "-v"], check=False, capture_output=True, text=True).stdout.split(
        " - "
    )[0]
    print(f"{version}; {arguments.connections} connections, {arguments.rounds} rounds of {arguments.seconds} s, "
          f"answers of {ANSWER_BYTES} bytes")  # fmt: skip
    variants = start_all(processes, folder, arguments.agent, arguments.haproxy)
    for size in arguments.bodies:
        script = folder / f"body-{size}.lua"
        script.write_text(wrk_script(size))
        runs: dict[str, list[Run]] = {variant.name: [] for variant in variants}
        for number in range(arguments.rounds):
            for variant in random.sample(variants, len(variants)):
                tell(f"   body {size}, round {number + 1}: {variant.name}")
                runs[variant.name].append(run(variant, script, arguments, processes))
        tell("")
        show(size, runs)


def tell(text: str) -> None:
    """What is running now, on a terminal."""
    if sys.stderr.isatty():
        print(f"\r{text:50}\r", end="", file=sys.stderr, flush=True)


def wrk_script(size: int) -> str:
    if size == 0:
        return 'wrk.method = "GET"\n'
    headers = 'wrk.headers["content-type"] = "application/json"\n'
    return f'wrk.method = "POST"\nwrk.body = string.rep("x", {size})\n{headers}'


def run(variant: Variant, script: Path, arguments: argparse.Namespace, processes: Processes) -> Run:
    captured, agent, haproxy = requests_captured(variant), cpu(variant.agent), cpu(variant.haproxy)
    command = [
        "wrk",
        "-t2",
        f"-c{arguments.connections}",
        f"-d{arguments.seconds}s",
        "-s",
        str(script),
        f"{variant.url}/i/_doc",
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    processes.check_alive()
    requests = int(found(r"(\d+) requests in", done.stdout))
    # The followers' work belongs to the run that caused it.
    processes.wait_until(
        lambda: has_caught_up(variant), f"the followers of {variant.name} have caught up", CATCH_UP_SECONDS
    )
    return Run(
        rate=float(found(r"Requests/sec:\s+([\d.]+)", done.stdout)),
        requests=requests,
        failed=int(found(r"Non-2xx or 3xx responses: (\d+)", done.stdout, "0")),
        not_captured=max(0, requests - (requests_captured(variant) - captured)) if variant.side else 0,
        agent_cpu=(cpu(variant.agent) - agent) / requests * 100_000,
        haproxy_cpu=(cpu(variant.haproxy) - haproxy) / requests * 100_000,
        agent_mib=variant.agent.resident_mib() if variant.agent else 0,
    )


def requests_captured(variant: Variant) -> int:
    return int(variant.side.ledger()["capture"]["requests"]["captured"]) if variant.side else 0


def has_caught_up(variant: Variant) -> bool:
    """All is delivered but what wrk cut off at its end, whose responses may never come."""
    if not variant.side:
        return True
    ledger = variant.side.ledger()
    return all(
        follower["records"]["passed"] >= ledger["journal"]["records"]
        and follower["exchanges"]["in_flight"] <= follower["waiting_for_other_half"]
        for follower in ledger["followers"].values()
    )


def cpu(child: Child | None) -> float:
    return child.cpu_seconds() if child else 0.0


def found(pattern: str, text: str, default: str | None = None) -> str:
    match = re.search(pattern, text)
    if match:
        return match.group(1)
    if default is None:
        raise StageError(f"wrk did not say /{pattern}/, but: {text}")
    return default


def show(size: int, runs: dict[str, list[Run]]) -> None:
    print(f"\n{'GET' if size == 0 else f'POST {size} bytes'}")
    print(
        f"  {'':12}{'requests/s':>12}{'ratio to none':>15}{'agent CPU':>11}{'HAProxy CPU':>13}{'agent MiB':>11}{'failed':>8}{'not captured':>14}"
    )
    for name, made in runs.items():
        ratio = median(one.rate / none.rate for one, none in zip(made, runs["none"]))
        print(
            f"  {name:12}{median(one.rate for one in made):>12,.0f}{ratio:>15.2f}"
            f"{median(one.agent_cpu for one in made):>11.2f}{median(one.haproxy_cpu for one in made):>13.2f}"
            f"{max(one.agent_mib for one in made):>11.0f}{sum(one.failed for one in made):>8}{sum(one.not_captured for one in made):>14}"
        )
    print("  CPU in seconds per 100,000 requests; medians; 'not captured' over all rounds", flush=True)


if __name__ == "__main__":
    sys.exit(main())
