"""Sends the traffic, and waits until everyone who follows has it."""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

from stage.clusters import DEMO
from stage.processes import StageError
from stage.running import Running
from stage.side import Side
from traffic_gen import benchmark, clients
from traffic_gen.clients import Limits, Progress, Tally
from traffic_gen.target import read_target

from . import show

CATCH_UP_SECONDS = 180
CACHE = DEMO.parent / ".cache" / "traffic-gen"


@dataclass
class Sent:
    """`tally` is there when the clients were our own."""

    count: int
    tally: Tally | None = None


def send(options: argparse.Namespace, running: Running) -> Sent:
    sent = (
        send_benchmark(running, options.verbose) if options.generator == "benchmark" else send_builtin(options, running)
    )
    behind = time.monotonic()
    wait_for_followers(running.primary, sent.count, running)
    show.say(f"   The followers had caught up {time.monotonic() - behind:.1f} s after the last answer.")
    return sent


def send_builtin(options: argparse.Namespace, running: Running) -> Sent:
    target = read_target(running.primary.url)
    first = clients.prepare(target)
    # The shadow makes the indices before others write to them.
    wait_for_followers(running.primary, first.sent, running)
    display = show.ProgressDisplay()

    def watch(progress: Progress) -> None:
        running.check_alive()
        display.show(progress)

    tally = clients.send(target, Limits(options.requests), options.connections, watch)
    if tally.errors:
        raise StageError("a client met errors:\n    " + "\n    ".join(tally.errors))
    tally.add(first)
    show.table(["what", "requests"], [[kind, count] for kind, count in tally.kinds.most_common()])
    return Sent(tally.sent, tally)


def send_benchmark(running: Running, verbose: bool) -> Sent:
    """How much it sent, HAProxy knows: it does not say so itself."""
    try:
        program = benchmark.found_or_installed(CACHE, show.say)
        load = benchmark.Load(clients=2, iterations=20)
        benchmark.run(program, benchmark.OURS, read_target(running.primary.url), load, CACHE, verbose)
    except benchmark.BenchmarkError as error:
        raise StageError(str(error)) from None
    running.check_alive()
    counted = running.primary.requests_of_haproxy()
    if counted is None:
        counted = int(running.primary.ledger()["capture"]["requests"]["received"])
    show.say(f"   opensearch-benchmark sent {counted:,} requests, all of which went well.")
    return Sent(counted)


def wait_for_followers(side: Side, sent: int, running: Running) -> None:
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

    running.wait_until(settled, "the followers have caught up", CATCH_UP_SECONDS)
