"""Puts the quickstart together; see `python3 -m quickstart --help`."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from stage.processes import Interrupted, Processes, StageError, raise_on_signals
from stage.side import Side
from traffic_gen import clients as traffic
from traffic_gen.clients import Limits, Tally
from traffic_gen.target import read_target

from . import proof, show

EXIT_INTERRUPTED = 130
CATCH_UP_SECONDS = 120

# The default is 250 ms, after which HAProxy goes on without the agent. A demonstration that shares
# two cores with a build would lose exchanges to the scheduler, and show nothing about the agent.
PATIENCE = "5s"

WHAT_THIS_IS = """\
Two small clusters of two nodes each, a HAProxy and an agent before each of them:

   clients -> primary HAProxy -> primary cluster
                  |  agent: journal -> traffic log
                  |                 -> mirror -> shadow HAProxy -> shadow cluster
                                                     |  agent: journal

The nodes are a small document store written for this demonstration. They are NOT Elasticsearch."""


def main() -> int:
    arguments = read_arguments()
    raise_on_signals()
    try:
        with temporary_folder() as folder, Processes(folder) as processes:
            return run(arguments, folder, processes)
    except (StageError, OSError) as error:
        print(f"\nquickstart: {error}", file=sys.stderr)
        return 1
    except Interrupted as interrupted:
        print(f"\nquickstart: ended by {interrupted}; everything it started is gone", file=sys.stderr)
        return EXIT_INTERRUPTED


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/quickstart",
        description="Installs what is missing, builds the agent, starts two small clusters with a HAProxy and an agent "
        "each, sends traffic, and shows that everything was captured, logged and mirrored. Cleans up always.",
        epilog="Exit codes: 0 everything balances, 1 something does not or did not start, 130 interrupted.",
    )
    parser.add_argument("--requests", type=positive, default=4000, metavar="N", help="how many (default: %(default)s)")
    parser.add_argument("--connections", type=positive, default=8, metavar="N", help="at a time (default: %(default)s)")
    parser.add_argument("--keep", action="store_true", help="keep it running to play on, until RETURN or Ctrl-C")
    parser.add_argument(
        "--agent", type=Path, metavar="FILE", help="an agent that is built already: installs and builds nothing"
    )
    parser.add_argument("--haproxy", default=shutil.which("haproxy") or "/usr/sbin/haproxy", metavar="FILE",
                        help="which HAProxy (default: %(default)s)")  # fmt: skip
    arguments = parser.parse_args()
    if arguments.agent is None or not arguments.agent.is_file():
        parser.error(f"--agent: {arguments.agent} is no file; scripts/quickstart builds the agent and names it")
    arguments.agent = arguments.agent.resolve()
    if not Path(arguments.haproxy).is_file():
        parser.error(f"--haproxy: {arguments.haproxy} is no file; scripts/setup installs HAProxy")
    return arguments


def positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 1")
    return int(text)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="spoa-quickstart-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(arguments: argparse.Namespace, folder: Path, processes: Processes) -> int:
    show.say(f"\n{WHAT_THIS_IS}")
    started = time.monotonic()
    show.step("Starting")
    primary, shadow = start(arguments, folder, processes)
    show.step(f"Sending {arguments.requests:,} requests over {arguments.connections} connections")
    tally = send(arguments, primary, processes)
    show.step("Traffic log (JSON, one line per exchange; here in short)")
    show_traffic_log(traffic_log(primary))
    show.step("Ledger")
    show.ledger({"primary": primary.ledger(), "shadow": shadow.ledger()})
    show.step("Does it balance?")
    show.say("   (What the primary refused, and what changed nothing there, is not meant for the shadow.)")
    balanced = show.checks(prove(tally, primary, shadow, processes))
    if not balanced:
        show_logs(processes)
    show.step("Figures")
    show_figures(tally, primary, shadow)
    seconds = time.monotonic() - started
    if arguments.keep:
        keep(primary, shadow)
    show.step("Stopping, and removing everything")
    processes.stop_all()
    words = "Everything balances." if balanced else "It does NOT balance: see the lines that say NO."
    show.say(f"   {show.coloured(words, balanced)} {seconds:.0f} s in all.")
    return 0 if balanced else 1


def start(arguments: argparse.Namespace, folder: Path, processes: Processes) -> tuple[Side, Side]:
    primary, shadow = (Side.plan(role, folder, arguments.agent) for role in ("primary", "shadow"))
    # From the back to the front, so that everyone finds the next one there.
    shadow.start_cluster(processes)
    shadow.start_agent(processes)
    shadow.start_haproxy(processes, arguments.haproxy, "--processing-timeout", PATIENCE)
    primary.start_cluster(processes)
    primary.start_agent(processes, "--traffic-log-path", traffic_log(primary), "--shadow-url", shadow.url)
    primary.start_haproxy(processes, arguments.haproxy, "--processing-timeout", PATIENCE)
    for side in (primary, shadow):
        nodes = ", ".join(side.node_urls)
        show.say(f"   {side.role:8} HAProxy {side.url}   agent {side.admin_url}   nodes {nodes}")
    show.say(
        f"   HAProxy waits up to {PATIENCE} for the agent here (by default 250 ms), as a demonstration may share a busy machine."
    )
    return primary, shadow


def traffic_log(side: Side) -> Path:
    return side.folder / "haproxy-traffic.log"


def send(arguments: argparse.Namespace, primary: Side, processes: Processes) -> Tally:
    first = traffic.prepare(read_target(primary.url))
    # The shadow makes the indices before others write to them.
    wait_for_followers(primary, first.sent, processes)
    display = show.ProgressDisplay()

    def watch(progress: traffic.Progress) -> None:
        processes.check_alive()
        display.show(progress)

    tally = traffic.send(read_target(primary.url), Limits(arguments.requests), arguments.connections, watch)
    if tally.errors:
        raise StageError("a client met errors:\n    " + "\n    ".join(tally.errors))
    behind = time.monotonic()
    tally.add(first)
    wait_for_followers(primary, tally.sent, processes)
    show.say(f"   The followers had caught up {time.monotonic() - behind:.1f} s after the last answer.")
    show.table(["what", "requests"], [[kind, count] for kind, count in tally.kinds.most_common()])
    return tally


def wait_for_followers(side: Side, sent: int, processes: Processes) -> None:
    """Until every follower has ended as many exchanges as were sent, or makes no headway; the proof then tells which."""
    last: tuple[list[int], float] = ([], time.monotonic())

    def settled() -> bool:
        nonlocal last
        ended = []
        for follower in side.ledger()["followers"].values():
            account = follower["exchanges"]
            ended.append(account["delivered"] + sum(account["filtered"].values()) + sum(account["dropped"].values()))
        if ended != last[0]:
            last = (ended, time.monotonic())
        return all(count >= sent for count in ended) or time.monotonic() - last[1] > CATCH_UP_SECONDS / 4

    processes.wait_until(settled, "the followers have caught up", CATCH_UP_SECONDS)


def show_traffic_log(log: Path) -> None:
    wanted = {("PUT", "_doc"), ("POST", "_doc"), ("POST", "_bulk"), ("GET", "_search")}
    with log.open(encoding="utf-8") as lines:
        for line in map(json.loads, islice(lines, 500)):
            request = line["request"]
            kind = next(
                ((m, call) for m, call in wanted if m == request["method"] and f"/{call}" in request["target"]), None
            )
            if kind:
                wanted.remove(kind)
                show.exchange(line)


def prove(tally: Tally, primary: Side, shadow: Side, processes: Processes) -> list[proof.Check]:
    processes.check_alive()
    mine, theirs = proof.captured(primary.exchanges()), proof.captured(shadow.exchanges())
    checks = proof.check_capture(tally.sent, tally.digests, mine, proof.lines_of(traffic_log(primary)))
    ledger = primary.ledger()
    left_out = proof.left_out(ledger)
    checks += proof.check_shadow(mine, theirs, left_out)
    checks += proof.check_ledger(tally.sent, ledger, "primary ledger")
    checks += proof.check_ledger(tally.sent - left_out, shadow.ledger(), "shadow ledger")
    return checks + proof.check_documents(primary.documents(), shadow.documents())


def show_figures(tally: Tally, primary: Side, shadow: Side) -> None:
    sent = tally.sent
    show.say(
        f"   {sent / tally.seconds:,.0f} requests/s from clients in Python; every process shares this machine's cores"
    )
    statuses = ", ".join(f"{status}: {count:,}" for status, count in sorted(tally.statuses.items()))
    show.say(f"   answers by status: {statuses}")
    for side in (primary, shadow):
        if side.agent:
            cpu, memory = side.agent.cpu_seconds(), side.agent.resident_mib()
            show.say(
                f"   {side.role} agent: {cpu:.2f} s of CPU, {cpu / sent * 100_000:.1f} s per 100,000 exchanges, {memory:.0f} MiB resident"
            )


def show_logs(processes: Processes) -> None:
    """The last words of each, as the folder with the files goes away."""
    for child in processes.children:
        show.step(f"Last lines of {child.name}")
        for line in child.last_lines(10):
            show.say(f"   {line}")


def keep(primary: Side, shadow: Side) -> None:
    json_type = "-H 'content-type: application/json'"
    show.step("Kept running. Try:")
    show.say(f"""\
   curl -X PUT '{primary.url}/noldor/_doc/1' {json_type} -d '{{"name": "Finwe"}}'
   curl '{primary.url}/noldor/_doc/1'
   curl '{shadow.url}/noldor/_doc/1'                 # the same, through the shadow HAProxy
   curl '{shadow.node_urls[1]}/_cat/indices?v'         # a node of the shadow cluster
   tail -n 1 {traffic_log(primary)}
   {primary.binary} journal cat --journal-dir {primary.journal} --format text --limit 10
   curl '{primary.admin_url}/ledger'; curl '{primary.admin_url}/metrics'
   configuration: {primary.folder}/haproxy.cfg, {primary.folder}/spoe.cfg, and beside them those of {shadow.folder}""")
    attended = sys.stdin is not None and sys.stdin.isatty()
    show.say(f"\n{'RETURN' if attended else 'SIGTERM'} or Ctrl-C ends it.")
    try:
        if attended:
            sys.stdin.readline()
        else:
            threading.Event().wait()
    except Interrupted:
        return


if __name__ == "__main__":
    sys.exit(main())
