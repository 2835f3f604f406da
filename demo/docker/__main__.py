"""Starts and ends an engine, makes base images, and proves the images: `python3 -m docker --help` in the folder demo."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import proof
from .cluster import OFFICIAL, ROOT, broker_image, engine_image
from .containers import Docker, DockerError
from .engine import base_image, capable_client, engine, start, stop

FOLDER = ROOT / ".cache" / "docker"


def main() -> int:
    options = read_arguments()
    try:
        return int(options.act(options))
    except DockerError as error:
        print(f"docker: {error}", file=sys.stderr)
        return 1


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python3 -m docker", description="Containers for the demonstration and the tests."
    )
    parser.add_argument("--folder", type=Path, default=FOLDER, help="of an engine of ours (default: %(default)s)")
    acts = parser.add_subparsers(required=True, metavar="ACT")
    one = acts.add_parser("up", help="start an engine, unless one answers; prints the DOCKER_HOST to use")
    one.set_defaults(act=up)
    one = acts.add_parser("down", help="end the engine that `up` started")
    one.set_defaults(act=down)
    one = acts.add_parser("base", help="see to the base image of a release of Debian")
    one.add_argument("release", choices=["bookworm", "trixie"], nargs="+")
    one.set_defaults(act=base)
    one = acts.add_parser(
        "engines", help="make stand-ins for the official images of the search engines and of Kafka, under their names"
    )
    one.add_argument("engine", choices=sorted(OFFICIAL), nargs="+")
    one.set_defaults(act=engines)
    one = acts.add_parser("proof", help="build the images, run them, and break things")
    one.add_argument("--agent", type=Path, required=True, help="the agent's program")
    one.add_argument("--branch", choices=sorted(proof.RELEASES), action="append", help="of HAProxy (default: all)")
    one.add_argument("--nodes", choices=["builtin", "real"], default="builtin", help="(default: %(default)s)")
    one.set_defaults(act=prove)
    return parser.parse_args()


def up(options: argparse.Namespace) -> int:
    docker = Docker(capable_client())
    if not docker.answers():
        docker = start(options.folder)
    if docker.host:
        print(f"DOCKER_HOST={docker.host}")
    return 0


def down(options: argparse.Namespace) -> int:
    stop(options.folder)
    return 0


def base(options: argparse.Namespace) -> int:
    with engine(options.folder) as docker:
        for release in options.release:
            print(base_image(docker, release))
    return 0


def engines(options: argparse.Namespace) -> int:
    with engine(options.folder) as docker:
        for name in options.engine:
            base = base_image(docker, "bookworm")
            print(broker_image(docker, base) if name == "broker" else engine_image(docker, base, name))
    return 0


def prove(options: argparse.Namespace) -> int:
    branches = options.branch or sorted(proof.RELEASES)
    with engine(options.folder) as docker:
        return 0 if proof.run(docker, options.agent.resolve(), branches, options.nodes == "real") else 1


if __name__ == "__main__":
    sys.exit(main())
