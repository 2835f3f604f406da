"""Puts the demonstration together."""

from __future__ import annotations

import argparse
import select
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from docker.containers import Containers, Docker, DockerError
from spoa_agent import SpoaError
from stage.processes import Interrupted, Processes, StageError, raise_on_signals
from stage.running import Running, Wanted

from . import drive, prepare, proof, show
from .drive import Sent

EXIT_FAILED, EXIT_INTERRUPTED = 1, 130


def main(options: argparse.Namespace) -> int:
    raise_on_signals()
    try:
        return run(options)
    except (StageError, DockerError, SpoaError, OSError) as error:
        print(f"\ndemo: {error}", file=sys.stderr)
        return EXIT_FAILED
    except Interrupted as interrupted:
        print(f"\ndemo: ended by {interrupted}; everything it started is gone", file=sys.stderr)
        return EXIT_INTERRUPTED


def run(options: argparse.Namespace) -> int:
    started = time.monotonic()
    with started_by(options) as running:
        show.nodes(running)
        if not options.run_traffic:
            show.invitation(running)
            wait_for_return(running)
            show.step("Stopping, and removing everything")
            return 0
        balanced = show_at_work(options, running)
        seconds = time.monotonic() - started
        if options.keep:
            show.invitation(running)
            wait_for_return(running)
        show.step("Stopping, and removing everything")
    words = "Everything balances." if balanced else "It does NOT balance: see the lines that say NO."
    show.say(f"   {show.coloured(words, balanced)} {seconds:.0f} s in all.")
    return 0 if balanced else EXIT_FAILED


@contextmanager
def started_by(options: argparse.Namespace) -> Iterator[Running]:
    """Everything, running; gone when the block ends, however it ends."""
    docker = None
    if options.runtime != "local":
        from stage.docker import find_engine

        docker = find_engine(options.docker, must=options.runtime == "docker", announce=announcing(options))
    if docker:
        with in_containers(options, docker) as running:
            yield running
        return
    with as_processes(options) as running:
        yield running


@contextmanager
def as_processes(options: argparse.Namespace) -> Iterator[Running]:
    from stage.local import PATIENCE, LocalRuntime

    show.step("Starting, as processes on this machine")
    haproxy, agent = prepare.find_haproxy(options), prepare.find_agent(options)
    engines = prepare.choose_engines(options)
    if options.kafka:
        prepare.prepare_broker(options, agent)
    with temporary_folder() as folder, Processes(folder, announce=announcing(options)) as processes:
        wanted = what_is_wanted(options, engines, options.bind or "127.0.0.1")
        yield LocalRuntime(wanted, folder, processes, agent, haproxy, show.say).start()
    show.detail(
        f"(HAProxy waited up to {PATIENCE} for the agent: a demonstration may share a busy machine)", options.verbose
    )


@contextmanager
def in_containers(options: argparse.Namespace, docker: Docker) -> Iterator[Running]:
    from stage.docker import NETWORK, DockerRuntime, Images

    show.step("Starting, as containers")
    images = Images(
        options.primary_image,
        options.shadow_image,
        options.elasticsearch_image,
        options.opensearch_image,
        options.kafka_image,
    )
    wanted = what_is_wanted(options, ("elasticsearch", options.shadow_engine), options.bind or "0.0.0.0")
    with Containers(docker, NETWORK, say=show.say) as containers:
        runtime = DockerRuntime(wanted, images, containers, show.say)
        if not options.no_build:
            arguments = [*options.build_argument, *([f"--agent-binary={options.agent}"] if options.agent else [])]
            runtime.build(arguments)
        yield runtime.start()


def what_is_wanted(options: argparse.Namespace, engines: tuple[str, str], host: str) -> Wanted:
    first = options.node_port
    nodes = [first + number if first else 0 for number in range(4)]
    return Wanted(
        engine=engines[0],
        shadow_engine=engines[1],
        ports={"primary": options.primary_port, "shadow": options.shadow_port},
        node_ports={"primary": nodes[:2], "shadow": nodes[2:]},
        host=host,
        heap=options.heap,
        kafka=options.kafka,
        kafka_port=options.kafka_port,
        topic=options.topic,
    )


def announcing(options: argparse.Namespace) -> show.Say:
    return lambda command: show.detail(f"$ {command}", options.verbose)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="spoa-demo-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def show_at_work(options: argparse.Namespace, running: Running) -> bool:
    """Sends traffic, shows what became of it, and whether it balances."""
    what = "the workload of opensearch-benchmark" if options.generator == "benchmark" else (
        f"{options.requests:,} requests over {options.connections} connections")  # fmt: skip
    show.step(f"Sending {what}")
    sent = drive.send(options, running)
    show.step("Traffic log (JSON, one line per exchange; here in short)")
    show_traffic_log(running)
    show.step("Ledger")
    show.ledger({"primary": running.primary.ledger(), "shadow": running.shadow.ledger()})
    show.step("Does it balance?")
    show.say("   (What the primary refused, and what changed nothing there, is not meant for the shadow.)")
    balanced = show.checks(prove(sent, running))
    if not balanced:
        show.last_words(running)
    show.step("Figures")
    show_figures(sent, running)
    return balanced


def show_traffic_log(running: Running) -> None:
    wanted = {("PUT", "_doc"), ("POST", "_doc"), ("POST", "_bulk"), ("GET", "_search")}
    for exchange in islice(running.primary.logged(), 500):
        request = exchange.request
        kinds = {(m, call) for m, call in wanted if request and m == request.method and f"/{call}" in request.target}
        if kinds:
            wanted -= kinds
            show.exchange(exchange)


def prove(sent: Sent, running: Running) -> list[proof.Check]:
    running.check_alive()
    primary, shadow = running.primary, running.shadow
    mine, theirs = proof.captured(primary.exchanges()), proof.captured(shadow.exchanges())
    logged = proof.captured(primary.logged())
    checks = proof.check_capture(sent.count, sent.tally.digests if sent.tally else None, mine, logged)
    ledger = primary.ledger()
    left_out = proof.left_out(ledger)
    checks += proof.check_shadow(mine, theirs, left_out)
    checks += proof.check_ledger(sent.count, ledger, "primary ledger")
    checks += proof.check_ledger(sent.count - left_out, shadow.ledger(), "shadow ledger")
    if running.broker:
        checks += proof.check_topic(mine, running.broker.exchange_ids())
    return checks + proof.check_documents(primary.documents(), shadow.documents())


def show_figures(sent: Sent, running: Running) -> None:
    if sent.tally:
        tally = sent.tally
        show.say(
            f"   {tally.sent / tally.seconds:,.0f} requests/s from clients in Python; every process shares this machine's cores"
        )
        statuses = ", ".join(f"{status}: {count:,}" for status, count in sorted(tally.statuses.items()))
        show.say(f"   answers by status: {statuses}")
    for side in (running.primary, running.shadow):
        figures = side.figures()
        if figures:
            cpu, memory = figures
            show.say(
                f"   {side.role} agent: {cpu:.2f} s of CPU, {cpu / sent.count * 100_000:.1f} s per 100,000 exchanges, {memory:.0f} MiB resident"
            )


def wait_for_return(running: Running) -> None:
    """Tells when something ends meanwhile, and goes on: people stop nodes to see what happens."""
    attended = sys.stdin is not None
    try:
        while True:
            for news in running.newly_dead():
                show.say(f"   {news}")
            if not attended:
                time.sleep(1)
            elif select.select([sys.stdin], [], [], 1)[0]:
                line = sys.stdin.readline()
                if line or sys.stdin.isatty():
                    return
                # Nobody is there to press it; a signal ends it.
                attended = False
    except Interrupted:
        return
