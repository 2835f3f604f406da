"""Runs a drill; see `scripts/drill kafka --help`."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from haproxy_demo import show
from spoa_agent import SpoaError
from stage.clusters import DEMO
from stage.processes import Interrupted, Processes, Program, StageError, raise_on_signals

from .judge import judge
from .outcome import HEAD, Phase, Seen, read_outcome, row
from .scene import Scene

BEFORE_SECONDS = 10
AFTER_SECONDS = 10
LAST_ANSWERS_SECONDS = 60
CATCH_UP_SECONDS = 300
# An agent that was killed is back by then.
CRASH_SECONDS = 3.0
EXIT_FAILED, EXIT_INTERRUPTED = 1, 130


def main() -> int:
    arguments = read_arguments()
    raise_on_signals()
    folder = Path(tempfile.mkdtemp(prefix="spoa-drill-"))
    try:
        with Processes(folder) as processes:
            return run(arguments, Scene(folder, processes, arguments.agent, arguments.haproxy))
    except (StageError, SpoaError, OSError) as error:
        print(f"drill: {error}", file=sys.stderr)
        return EXIT_FAILED
    except Interrupted as interrupted:
        print(f"drill: ended by {interrupted}", file=sys.stderr)
        return EXIT_INTERRUPTED
    finally:
        if arguments.keep:
            print(f"Logs, journal and figures are in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/drill",
        description="kafka: under an open-loop load through a real HAProxy, a real broker is killed (SIGKILL), stays away, and is started "
        "again with its data; meanwhile the agent is killed twice, and started again at once. At the end, what HAProxy had an ACK for must be "
        "in the topic, read with Kafka's own client; fewer than 0.1 % of it more than once; no client may have seen an error; and the ledger "
        "must balance. While the agent is dead HAProxy passes requests by, without an ACK: how many is told. Exit code 0 says that "
        "the promise was kept.",
    )
    parser.add_argument("drill", choices=["kafka"])
    parser.add_argument(
        "--seconds", type=positive, default=60, metavar="N", help="that the broker is away (default: %(default)s)"
    )
    parser.add_argument(
        "--rate", type=positive, default=1000, metavar="N", help="requests per second (default: %(default)s)"
    )
    parser.add_argument("--agent", type=Path, metavar="FILE", help="an agent that is built already")
    parser.add_argument("--haproxy", default=shutil.which("haproxy") or "/usr/sbin/haproxy", metavar="FILE")
    parser.add_argument("--keep", action="store_true", help="keeps the folder with logs, journal and figures")
    arguments = parser.parse_args()
    if arguments.agent is None or not os.access(arguments.agent, os.X_OK):
        parser.error(f"--agent: {arguments.agent} is no program; scripts/drill builds the agent and names it")
    if not (DEMO.parent / ".cache" / "broker" / "complete").is_file():
        parser.error("the broker is not installed here; scripts/setup broker does that")
    arguments.agent = arguments.agent.resolve()
    return arguments


def positive(text: str) -> int:
    number = int(text)
    if number <= 0:
        raise ValueError(text)
    return number


def run(arguments: argparse.Namespace, scene: Scene) -> int:
    show.step("Starting a broker, a cluster (NGINX), the agent, and HAProxy")
    scene.start()
    show.step(f"Sending {arguments.rate:,} requests/s, whatever happens")
    story = Story(scene, arguments.rate, arguments.seconds)
    story.play()
    show.step("Waiting until the agent has delivered everything")
    began = time.monotonic()
    scene.processes.wait_until(lambda: has_caught_up(scene), "the agent has delivered everything", CATCH_UP_SECONDS)
    show.say(f"   {time.monotonic() - began:.1f} s after the last answer")
    seen = read_outcome(story.out)
    topic = scene.broker.exchange_ids()
    show.step("What the clients saw")
    show_latencies(seen, story)
    show.step("Was the promise kept?")
    checks = judge(seen, topic, scene.side.ledger(), scene.side.requests_of_haproxy())
    kept = show.checks(checks)
    show_uncaptured(seen)
    words = "The promise was kept." if kept else "It was NOT kept: see the lines that say NO."
    show.say(f"\n   {show.coloured(words, kept)}")
    return 0 if kept else EXIT_FAILED


class Story:
    """What happens, and when it did."""

    def __init__(self, scene: Scene, rate: int, away: int) -> None:
        self.scene, self.rate, self.away = scene, rate, away
        self.out = scene.folder / "requests.tsv"
        self.crashes: list[float] = []
        self.killed = self.back = 0.0

    def play(self) -> None:
        load = self.start_load()
        self.wait(BEFORE_SECONDS)
        self.killed = time.monotonic()
        self.scene.kill_broker()
        self.tell("the broker is killed")
        for _ in range(2):
            self.wait(self.away / 3)
            self.crashes.append(time.monotonic())
            self.scene.crash_agent()
            self.tell(f"the agent was killed, and is back after {time.monotonic() - self.crashes[-1]:.1f} s")
        self.wait(self.killed + self.away - time.monotonic())
        self.scene.start_broker()
        self.back = time.monotonic()
        self.tell("the broker is back")
        self.wait(AFTER_SECONDS)
        self.scene.processes.finish(load, LAST_ANSWERS_SECONDS)
        self.tell(load.last_lines(1)[0])

    def start_load(self) -> Program:
        self.began = time.monotonic()
        return self.scene.processes.start(
            "load", sys.executable, "-m", "drill.load", "--port", self.scene.side.haproxy_port, "--rate", self.rate,
            "--out", self.out, cwd=DEMO,
        )  # fmt: skip

    def wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.scene.processes.check_alive()
            time.sleep(min(0.2, max(0.0, end - time.monotonic())))

    def tell(self, what: str) -> None:
        show.say(f"   {time.monotonic() - self.began:5.1f} s  {what}")

    def phases(self) -> list[Phase]:
        return [
            Phase("before", 0.0, self.killed),
            Phase("broker away", self.killed, self.back),
            *(
                Phase(f"  {CRASH_SECONDS:g} s from agent kill {number}", at, at + CRASH_SECONDS)
                for number, at in enumerate(self.crashes, 1)
            ),
            Phase("after", self.back, float("inf")),
        ]


def has_caught_up(scene: Scene) -> bool:
    ledger = scene.side.ledger()
    follower = ledger["followers"]["kafka"]
    return bool(
        follower["records"]["passed"] >= ledger["journal"]["records"] and follower["exchanges"]["in_flight"] == 0
    )


def show_latencies(seen: list[Seen], story: Story) -> None:
    rows = [row(phase.name, filter(phase.has, seen)) for phase in story.phases()]
    show.table(HEAD, [*rows, row("all", seen)])


def show_uncaptured(seen: list[Seen]) -> None:
    """What HAProxy let pass by is no failure: the client does not wait for an agent that is away."""
    neither = sum(not one.request and not one.response for one in seen)
    only_request = sum(one.request and not one.response for one in seen)
    show.say(
        f"   HAProxy had no ACK for {neither:,} of {len(seen):,} exchanges ({neither / max(len(seen), 1):.2%}): the agent was dead, or too slow; "
        f"for {only_request:,} it had one for the request alone."
    )


if __name__ == "__main__":
    sys.exit(main())
