"""The options, and what they mean; see `run.py --help`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import FrameType

from . import benchmark, clients
from .benchmark import OURS, SEED, BenchmarkError, Load, NotInstallable
from .target import Target, TargetError, read_target

DEFAULT_TARGET = "127.0.0.1:80"
DEFAULT_REQUESTS = 4000
PREFIX = "TRAFFIC_GEN_"
CACHE = Path(__file__).resolve().parent.parent.parent / ".cache" / "traffic-gen"
EXIT_FAILED, EXIT_NOT_INSTALLABLE, EXIT_INTERRUPTED = 1, 3, 130

EPILOG = f"""\
Every option is also an environment variable: --target is {PREFIX}TARGET, --password-file is {PREFIX}PASSWORD_FILE, and
so on ({PREFIX}TEST_MODE=1). The password itself may be in {PREFIX}PASSWORD.

Exit codes: 0 all requests went well, 1 some did not or the target is not there, 2 the options are wrong,
3 opensearch-benchmark cannot be installed, 130 interrupted.

Examples:
  traffic-gen/run.py --target localhost:80                      # our workload, which needs no network
  traffic-gen/run.py --test-mode                                # the same, each task once
  traffic-gen/run.py --workloads seed --test-mode               # geonames, http_logs, nested, nyc_taxis (downloads)
  traffic-gen/run.py --generator builtin --requests 10000 --clients 8
  traffic-gen/run.py --target https://search:9200 --user bench --password-file pw --ca-file ca.pem"""


class Interrupted(Exception):
    """A signal asks us to end."""


def main() -> int:
    options = read_options()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, interrupt)
    try:
        check_target(options.target)
        if options.generator == "builtin":
            return with_our_clients(options)
        return with_benchmark(options)
    except NotInstallable as error:
        say(f"{error}\n  --generator builtin sends traffic without it")
        return EXIT_NOT_INSTALLABLE
    except (BenchmarkError, OSError) as error:
        say(str(error))
        return EXIT_FAILED
    except Interrupted as interrupted:
        say(f"ended by {interrupted}")
        return EXIT_INTERRUPTED


def interrupt(number: int, _: FrameType | None) -> None:
    raise Interrupted(signal.Signals(number).name)


def check_target(target: Target) -> None:
    """Says at once what a benchmark would say after a minute."""
    connection = target.connection()
    try:
        connection.request("GET", "/", headers=target.headers())
        status = connection.getresponse().status
    except OSError as error:
        raise BenchmarkError(f"{target.url} does not answer: {error}; --target names another one") from None
    finally:
        connection.close()
    if status in (401, 403):
        raise BenchmarkError(
            f"{target.url} wants another user or password (status {status}); see --user and --password-file"
        )
    if status >= 500:
        raise BenchmarkError(f"{target.url} is not ready: status {status}")


def with_benchmark(options: argparse.Namespace) -> int:
    program = benchmark.found_or_installed(options.cache, say)
    load = Load(
        options.throughput,
        options.clients or 1,
        options.bulk_size,
        options.iterations,
        options.duration,
        options.test_mode,
    )
    for workload in options.workloads:
        print(f"Running opensearch-benchmark w/ '{workload}' workload...", flush=True)
        started = time.monotonic()
        benchmark.run(program, workload, options.target, load, options.cache, options.verbose)
        print(f"'{workload}' went well: every request, in {time.monotonic() - started:.0f} s", flush=True)
    return 0


def with_our_clients(options: argparse.Namespace) -> int:
    limits = clients.Limits(options.requests, options.duration, options.throughput)
    tally = clients.prepare(options.target)
    tally.add(clients.send(options.target, limits, options.clients or 4, lambda _: None))
    for kind, count in tally.kinds.most_common():
        print(f"{count:>9,}  {kind}")
    statuses = ", ".join(f"{status}: {count:,}" for status, count in sorted(tally.statuses.items()))
    print(f"{tally.sent:>9,}  in {tally.seconds:.1f} s; by status: {statuses}")
    for error in tally.errors:
        say(error)
    bad = sum(count for status, count in tally.statuses.items() if status >= 500)
    if bad:
        say(f"{bad:,} answers have a status from 500")
    return EXIT_FAILED if tally.errors or bad else 0


def say(text: str) -> None:
    print(f"run.py: {text}", file=sys.stderr, flush=True)


def read_options(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="run.py",
        description="Sends traffic to a cluster: documents, bulks with and without ids, updates, deletes, searches, scrolls, administration.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--target", type=target, default=DEFAULT_TARGET, metavar="[https://]HOST:PORT", help="default: %(default)s"
    )
    parser.add_argument("--user", metavar="NAME", help="basic authentication")
    parser.add_argument("--password-file", type=Path, metavar="FILE", help="its first line is the password")
    parser.add_argument(
        "--ca-file", type=Path, metavar="FILE", help="PEM; whose certificates are taken (default: the system's)"
    )
    parser.add_argument("--tls-insecure", action="store_true", help="take any certificate; for tests only")
    parser.add_argument("--generator", choices=["benchmark", "builtin"], default="benchmark",
                        help="opensearch-benchmark, or clients of our own that need nothing but Python (default: %(default)s)")  # fmt: skip
    parser.add_argument("--workloads", type=workloads, default=OURS, metavar="NAME,..",
                        help=f"{OURS}, {', '.join(SEED)}, or seed for these four in turn (default: %(default)s)")  # fmt: skip
    parser.add_argument("--throughput", type=positive_number, metavar="N",
                        help="requests per second: of each task of a workload, of all clients together of the builtin generator "
                        f"(default: as fast as it goes; {SEED[0]} and the other three: 0.5)")  # fmt: skip
    parser.add_argument("--clients", type=positive, metavar="N", help="at a time (default: 1; builtin: 4)")
    parser.add_argument(
        "--bulk-size", type=positive, metavar="N", help="documents per bulk (default: 100; the public workloads: 10)"
    )
    parser.add_argument("--iterations", type=positive, metavar="N", help="of each task and client (default: 50)")
    parser.add_argument(
        "--duration", type=positive, metavar="SECONDS", help="of the mixed load, or of the builtin generator"
    )
    parser.add_argument(
        "--requests",
        type=positive,
        metavar="N",
        help=f"of the builtin generator (default: {DEFAULT_REQUESTS}, or --duration)",
    )
    parser.add_argument("--test-mode", action="store_true", help="each task once, on 1,000 documents")
    parser.add_argument("--cache", type=Path, default=CACHE, metavar="FOLDER",
                        help="where opensearch-benchmark and its logs are kept (default: .cache/traffic-gen)")  # fmt: skip
    parser.add_argument("-v", "--verbose", action="store_true", help="show what opensearch-benchmark prints")
    from_environment(parser)
    options = parser.parse_args(words)
    complain(parser, options)
    options.target = replace(
        options.target,
        ca_file=options.ca_file,
        verify=not options.tls_insecure,
        user=options.user,
        password=password(parser, options),
    )
    if options.requests is None and options.duration is None:
        options.requests = DEFAULT_REQUESTS
    return options


def from_environment(parser: argparse.ArgumentParser) -> None:
    """A value that is there becomes the default; argparse reads defaults that are text as if they were typed."""
    for action in parser._actions:
        if action.dest == "help":
            continue
        value = os.environ.get(PREFIX + action.dest.upper())
        if value is None or value == "":
            continue
        if action.nargs == 0:
            if value not in ("0", "1", "false", "true"):
                parser.error(f"{PREFIX}{action.dest.upper()}: it takes 0, 1, false or true, not '{value}'")
            action.default = value in ("1", "true")
            continue
        if action.choices and value not in action.choices:
            parser.error(f"{PREFIX}{action.dest.upper()}: it takes {' or '.join(action.choices)}, not '{value}'")
        action.default = value


def complain(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """What is typed well, and does not go together."""
    builtin, public = options.generator == "builtin", options.workloads != [OURS]
    if options.tls_insecure and options.ca_file:
        parser.error("--tls-insecure and --ca-file: one of them")
    if (options.ca_file or options.tls_insecure) and not options.target.tls:
        parser.error(f"--ca-file and --tls-insecure need a target with https://, and it is {options.target.url}")
    if options.ca_file and not options.ca_file.is_file():
        parser.error(f"--ca-file: {options.ca_file} is no file")
    if options.iterations and options.duration:
        parser.error("--iterations and --duration: one of them")
    if builtin and (options.iterations or options.bulk_size or options.test_mode or public):
        parser.error(
            "--iterations, --bulk-size, --test-mode and --workloads are not for --generator builtin; it takes --requests or --duration"
        )
    if not builtin and options.requests:
        parser.error("--requests is for --generator builtin; a workload takes --iterations or --duration")
    if public and (options.iterations or options.duration):
        parser.error("--iterations and --duration are for our own workload; the public ones take --test-mode")


def password(parser: argparse.ArgumentParser, options: argparse.Namespace) -> str | None:
    given = os.environ.get(PREFIX + "PASSWORD")
    if options.password_file:
        try:
            given = next(iter(options.password_file.read_text(encoding="utf-8").splitlines()), "")
        except OSError as error:
            parser.error(f"--password-file: {error}")
    if given is not None and options.user is None:
        parser.error("there is a password, and no --user")
    if options.user is not None and given is None:
        parser.error(f"--user needs --password-file, or the password in {PREFIX}PASSWORD")
    return given


def target(text: str) -> Target:
    try:
        return read_target(text)
    except TargetError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def workloads(text: str) -> list[str]:
    names = list(SEED) if text == "seed" else text.split(",")
    for name in names:
        if name not in (OURS, *SEED):
            raise argparse.ArgumentTypeError(f"'{name}' is no workload; it takes {OURS}, {', '.join(SEED)} or seed")
    return names


def positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 1")
    return int(text)


def positive_number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number above 0")
    return number
