"""What can be asked for."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

from docker.cluster import OFFICIAL

EPILOG = """\
exit codes:
  0 it ran, and with --run-traffic everything balances
  1 something did not start, or does not balance
  2 an option is wrong
  130 interrupted while it started or sent traffic

examples:
  demo/demo_haproxy.py                                     # six nodes to play with, until RETURN
  demo/demo_haproxy.py --runtime local --kafka --run-traffic
  demo/demo_haproxy.py --shadow-engine opensearch --primary-port 8080 --shadow-port 8081"""


def read_options(words: Sequence[str] | None = None, program: str = "demo_haproxy.py") -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=program,
        description="Starts a primary and a shadow cluster of two nodes each, and an HAProxy with an agent before each of them. "
        "What goes through the primary HAProxy is captured, logged, and mirrored to the shadow. Cleans up always.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="tell each command that is run")
    what = parser.add_argument_group("what runs")
    what.add_argument("--runtime", choices=["auto", "local", "docker"], default="auto",
                      help="processes on this machine, or containers; auto takes containers when an engine answers (default: %(default)s)")  # fmt: skip
    what.add_argument("--nodes", choices=["auto", "real", "builtin"], default="auto",
                      help="real engines, or a small store that needs no JVM and is not Elasticsearch; auto takes real ones when they can be had")  # fmt: skip
    what.add_argument("--shadow-engine", choices=["elasticsearch", "opensearch"], default="elasticsearch",
                      help="Elasticsearch 7.10.2 as the primary, or OpenSearch 2 (default: %(default)s)")  # fmt: skip
    what.add_argument("--kafka", action="store_true", help="a Kafka broker too, to which the primary agent offloads")
    what.add_argument("--topic", default="captured-traffic", metavar="NAME", help="default: %(default)s")
    what.add_argument("--heap", default="512m", metavar="SIZE", help="of each real node's JVM (default: %(default)s)")
    where = parser.add_argument_group(
        "where; a port that is taken or not permitted is replaced by another one, and 0 is any"
    )
    where.add_argument(
        "--primary-port", type=port, default=80, metavar="PORT", help="the primary HAProxy (default: %(default)s)"
    )
    where.add_argument(
        "--shadow-port", type=port, default=81, metavar="PORT", help="the shadow HAProxy (default: %(default)s)"
    )
    where.add_argument(
        "--node-port",
        type=port,
        default=9200,
        metavar="PORT",
        help="the first of the four nodes (default: %(default)s)",
    )
    where.add_argument(
        "--kafka-port",
        type=port,
        default=9092,
        metavar="PORT",
        help="the broker, for this machine (default: %(default)s)",
    )
    where.add_argument(
        "--bind", metavar="ADDRESS", help="where the HAProxies listen (default: 127.0.0.1; as containers 0.0.0.0)"
    )
    traffic = parser.add_argument_group("traffic")
    traffic.add_argument(
        "--run-traffic", action="store_true", help="send traffic, prove that everything balances, and end"
    )
    traffic.add_argument("--generator", choices=["builtin", "benchmark"], default="builtin",
                         help="of traffic-gen: its own clients, or opensearch-benchmark with its own workload (default: %(default)s)")  # fmt: skip
    traffic.add_argument(
        "--requests", type=positive, default=4000, metavar="N", help="how many, builtin (default: %(default)s)"
    )
    traffic.add_argument(
        "--connections", type=positive, default=8, metavar="N", help="at a time, builtin (default: %(default)s)"
    )
    traffic.add_argument(
        "--keep", action="store_true", help="with --run-traffic: go on after that, until RETURN or Ctrl-C"
    )
    local = parser.add_argument_group("local")
    local.add_argument(
        "--agent", type=Path, metavar="FILE", help="an agent that is built already: installs and builds nothing"
    )
    local.add_argument("--haproxy", default=shutil.which("haproxy") or "/usr/sbin/haproxy", metavar="FILE",
                       help="which HAProxy (default: %(default)s)")  # fmt: skip
    docker = parser.add_argument_group("docker")
    docker.add_argument("--docker", metavar="FILE", help="which client (default: the one in PATH)")
    docker.add_argument("--no-build", action="store_true", help="take the HAProxy images as they are")
    docker.add_argument("--build-argument", action="append", default=[], metavar="WORD",
                        help="passed on to scripts/build_docker_images.py, such as --build-argument=--haproxy-branch=2.6; may be repeated")  # fmt: skip
    for name, image in IMAGES.items():
        docker.add_argument(f"--{name}-image", default=image, metavar="NAME", help="default: %(default)s")
    options = parser.parse_args(words)
    complain(parser, options)
    return options


# The first two are built, the others fetched.
IMAGES = {
    "primary": "haproxy-primary",
    "shadow": "haproxy-shadow",
    "elasticsearch": OFFICIAL["elasticsearch"],
    "opensearch": OFFICIAL["opensearch"],
    "kafka": OFFICIAL["broker"],
}


def complain(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    if options.nodes == "builtin" and options.shadow_engine != "elasticsearch":
        parser.error("--nodes builtin and --shadow-engine: the built-in store is on both sides, or on none")
    if options.nodes == "builtin" and options.generator == "benchmark":
        parser.error(
            "--nodes builtin and --generator benchmark: the built-in store does not understand all that a benchmark asks"
        )
    if options.nodes == "builtin" and options.runtime == "docker":
        parser.error("--nodes builtin and --runtime docker: containers are real nodes")
    if options.agent is not None:
        if not options.agent.is_file():
            parser.error(f"--agent: {options.agent} is no file; scripts/quickstart builds the agent and names it")
        options.agent = options.agent.resolve()
    if options.keep and not options.run_traffic:
        parser.error("--keep is for --run-traffic; without it everything is kept until RETURN")
    given = [value for value in (options.primary_port, options.shadow_port) if value]
    if len(given) != len(set(given)):
        parser.error(f"--primary-port and --shadow-port are both {given[0]}")


def port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text} is no port, which is a number from 0 to 65535")
    return int(text)


def positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 1")
    return int(text)
