"""What the demonstration prints: steps, a progress display, tables. Colours and redrawing on a terminal only."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from spoa_agent import Exchange
from stage.running import Running
from traffic_gen.clients import Progress

from .proof import Check

Say = Callable[[str], None]

TERMINAL = sys.stdout.isatty()
BAR = 30


def step(text: str) -> None:
    say(bold(f"\n== {text}"))


def say(text: str = "") -> None:
    print(text, flush=True)


def bold(text: str) -> str:
    return f"\033[1m{text}\033[0m" if TERMINAL else text


def coloured(text: str, good: bool) -> str:
    return f"\033[{32 if good else 31}m{text}\033[0m" if TERMINAL else text


class ProgressDisplay:
    """A bar on a terminal, a line every fifth of the way elsewhere."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.told = 0

    def show(self, progress: Progress) -> None:
        done, total = progress.done, progress.total
        rate = done / max(time.monotonic() - self.started, 0.001)
        text = f"{done:>7,} of {total:,} requests, {rate:,.0f}/s"
        if TERMINAL:
            filled = BAR * done // max(total, 1)
            ended = "\n" if done == total and self.told < total else ""
            if self.told < total:
                print(f"\r   [{'#' * filled}{'.' * (BAR - filled)}] {text} ", end=ended, flush=True)
            self.told = done
            return
        if done * 5 // max(total, 1) > self.told * 5 // max(total, 1):
            say(f"   {text}")
            self.told = done


def table(names: list[str], rows: Iterable[list[Any]]) -> None:
    lines = [names] + [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(names))]
    for position, line in enumerate(lines):
        first, *others = zip(line, widths)
        cells = [first[0].ljust(first[1])] + [cell.rjust(width) for cell, width in others]
        text = "   " + "  ".join(cells)
        say(bold(text) if position == 0 else text)


def ledger(ledgers: dict[str, dict[str, Any]]) -> None:
    rows: list[list[Any]] = []
    for side, account in ledgers.items():
        for half in ("requests", "responses"):
            counts = account["capture"][half]
            refused = sum(counts["refused"].values())
            rows.append([f"{side} capture: {half}", counts["received"], counts["captured"], 0, refused, 0])
        for name, follower in account["followers"].items():
            counts = follower["exchanges"]
            filtered, dropped = sum(counts["filtered"].values()), sum(counts["dropped"].values())
            row = [counts["read"], counts["delivered"], filtered, dropped, counts["in_flight"]]
            rows.append([f"{side} follower: {name}", *row])
    table(["", "received", "kept/delivered", "filtered", "refused/dropped", "in flight"], rows)


def exchange(seen: Exchange, width: int = 88) -> None:
    """One line of the traffic log, in short: the line itself is JSON and holds everything."""
    request, response = seen.request, seen.response
    if request is None or response is None:
        return
    milliseconds = (seen.duration_us or 0) / 1000
    say(f"   {seen.id}  {request.method} {request.target} -> {response.status} in {milliseconds:.1f} ms")
    for name, body in (("sent", request.body), ("got", response.body)):
        text = body.content.decode(errors="replace").replace("\n", "\\n")
        text = text if len(text) <= width else f"{text[:width]}..."
        say(f"      {name:>4} {len(body):>7,} bytes, {body.extent}: {text}")


def checks(made: list[Check]) -> bool:
    """Prints them; whether all hold."""
    width = max(len(check.claim) for check in made)
    for check in made:
        mark = coloured("yes", True) if check.holds else coloured("NO ", False)
        say(f"   {mark}  {check.claim.ljust(width)}  {check.detail}".rstrip())
    return all(check.holds for check in made)


def detail(text: str, wanted: bool) -> None:
    if wanted:
        say(f"   {text}")


def nodes(running: Running) -> None:
    say()
    rows = running.table()
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        say("   " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    for side in (running.primary, running.shadow):
        say(f"   {side.role:8} HAProxy {side.url}   agent {side.admin_url}   nodes {', '.join(side.node_urls)}")
    if running.broker:
        say(
            f"   Kafka    {running.broker.outside} (for the agent: {running.broker.inside}), topic {running.broker.topic}"
        )


def invitation(running: Running) -> None:
    primary, shadow = (side.url.replace("127.0.0.1", "localhost") for side in (running.primary, running.shadow))
    node = running.shadow.node_urls[1].replace("127.0.0.1", "localhost")
    json_type = "-H 'Content-Type: application/json'"
    kind = "an Elasticsearch 7.10.2 cluster of two nodes" if running.nodes == "real" else (
        "a cluster of two nodes of the built-in store, which is NOT Elasticsearch")  # fmt: skip
    more = "\n".join(f"{name + ':':15}{hint}" for name, hint in running.hints.items())
    say(f"""
HAProxy is running at {primary} and passes traffic to {kind}.
Requests and responses are captured, whole, and are lines of the traffic log. The requests are mirrored to a shadow
cluster behind an HAProxy of its own at {shadow}.

Some example commands you can run to demonstrate the behavior are:
curl -X GET '{primary}'
curl -X GET '{primary}/_cat/nodes?v=true&pretty'
curl -X PUT '{primary}/noldor/_doc/1' {json_type} -d'{{"name": "Finwe"}}'
curl -X GET '{primary}/noldor/_doc/1'
curl -X GET '{node}/noldor/_doc/1'      # the same, from a node of the shadow cluster
curl '{running.primary.admin_url}/ledger'; curl '{running.primary.admin_url}/metrics'
{more}
traffic:       traffic-gen/run.py --target {primary.removeprefix("http://")} --test-mode

When you are done playing with the setup, hit the RETURN key in this terminal window (or Ctrl-C) to shut down and clean up.
""")


def last_words(running: Running) -> None:
    """Of each part, as the files go away."""
    for name, lines in running.last_words().items():
        step(f"Last lines of {name}")
        for line in lines:
            say(f"   {line}")
