#!/usr/bin/env python3
"""Builds the two images: HAProxy and an agent before the primary cluster, and before the shadow cluster.

The addresses that are given here are the images' defaults. Each is also an environment variable of the
container (haproxy/README.md names them), so a node that moves needs a restart, and no new image.
"""

from __future__ import annotations

import argparse
import ipaddress
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

REPOSITORY = Path(__file__).resolve().parent.parent
SOURCES = ("Cargo.toml", "Cargo.lock", ".dockerignore", "haproxy", "spoa-agent")
NOT_SOURCES = shutil.ignore_patterns("target", "__pycache__", ".venv", "*.pyc")
# Debian's package of each branch.
BASES = {"2.6": "debian:bookworm-slim", "3.0": "debian:trixie-slim"}
HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*\.?")
# Since then the client leaves BuildKit to a plugin of its own.
BUILDX_SINCE = 23

EXAMPLE = """\
example:
  scripts/build_docker_images.py --primary-nodes 10.0.0.1:9200 https://es2.example:9200 '[2001:db8::3]:9200' \\
      --shadow-haproxy shadow.example:81 --shadow-nodes 10.0.1.1:9200 10.0.1.2:9200

exit codes: 0 built, 1 no engine, or a build failed, 2 an argument is wrong"""


class BuildError(Exception):
    """An image could not be built. The text is for people."""


@dataclass(frozen=True)
class Image:
    """One of the two: a target of the Dockerfile, the name it gets, and what is baked in."""

    target: str
    name: str
    arguments: dict[str, str]


def main(arguments: Sequence[str] | None = None) -> int:
    options = read_arguments(arguments)
    images = [image for image in both(options) if options.only in (None, image.target)]
    context = options.workspace / "context"
    try:
        if options.dry_run:
            for image in images:
                print(shlex.join(build_command("docker", image, options, context)))
            return 0
        docker = find_docker(options.docker)
        prepare(context, options)
        for image in images:
            build(docker, image, options, context)
    except (BuildError, OSError) as error:
        print(f"build_docker_images: {error}", file=sys.stderr)
        return 1
    return 0


def read_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    images = parser.add_argument_group("images")
    images.add_argument("--primary-image", default="haproxy-primary", metavar="NAME", help="the primary side's name")
    images.add_argument("--shadow-image", default="haproxy-shadow", metavar="NAME", help="the shadow side's name")
    images.add_argument("--only", choices=["primary", "shadow"], help="build one of them")
    addresses = parser.add_argument_group("addresses, as the containers see them")
    for side in ("primary", "shadow"):
        addresses.add_argument(
            f"--{side}-nodes", required=True, nargs="+", type=node, metavar="NODE",
            help=f"the {side} cluster: host:port (IPv6 in brackets) or https://host:port",
        )  # fmt: skip
    addresses.add_argument(
        "--shadow-haproxy", required=True, type=url, metavar="ADDRESS",
        help="where the primary side mirrors to: host:port or https://host:port",
    )  # fmt: skip
    addresses.add_argument(
        "--internal-port",
        default=9200,
        type=port,
        metavar="PORT",
        help="where HAProxy listens in both (default: %(default)s)",
    )
    addresses.add_argument(
        "--kafka-brokers", nargs="+", default=[], type=node_without_scheme, metavar="HOST:PORT",
        help="where the primary side offloads to (default: nowhere)",
    )  # fmt: skip
    made_of = parser.add_argument_group("what they are made of")
    made_of.add_argument("--haproxy-branch", choices=sorted(BASES), help="takes the Debian that has it (default: 3.0)")
    made_of.add_argument("--base-image", metavar="IMAGE", help="the base instead: one with apt, such as haproxy:3.2")
    made_of.add_argument(
        "--haproxy-package",
        default="haproxy",
        metavar="NAME[=VERSION]",
        help="what apt installs, such as 'haproxy=3.0.*'",
    )
    made_of.add_argument(
        "--agent-binary",
        type=Path,
        metavar="FILE",
        help="an agent that is built already, on the base's Debian or an older one",
    )
    made_of.add_argument(
        "--rust-image", metavar="IMAGE", help="what the agent is built in otherwise (default: see Dockerfile)"
    )
    made_of.add_argument(
        "--cargo-profile", choices=["release", "dev"], default="release", help="(default: %(default)s)"
    )
    made_of.add_argument(
        "--ca-file",
        type=Path,
        metavar="FILE",
        help="certificates to trust while the agent is built, for a network with its own",
    )
    running = parser.add_argument_group("how")
    running.add_argument(
        "--workspace", type=Path, default=Path("/tmp/cluster_traffic_capture/"), metavar="DIR",  # noqa: S108
        help="where the files for the build are copied to (default: %(default)s)",
    )  # fmt: skip
    running.add_argument("--docker", metavar="FILE", help="which client (default: the first in PATH that can build)")
    running.add_argument("--no-cache", action="store_true", help="build every step anew")
    running.add_argument("--dry-run", action="store_true", help="only print the commands")
    options = parser.parse_args(arguments)
    if options.haproxy_branch and options.base_image:
        parser.error("--haproxy-branch and --base-image both name the base; leave one out")
    for file, option in ((options.agent_binary, "--agent-binary"), (options.ca_file, "--ca-file")):
        if file is not None and not file.is_file():
            parser.error(f"{option}: {file} is no file")
    options.base_image = options.base_image or BASES[options.haproxy_branch or "3.0"]
    options.workspace = options.workspace.absolute()
    return options


def port(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 1024 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(
            f"{text} is not a port from 1024 to 65535; the images run without capabilities"
        )
    return int(text)


def node(text: str) -> str:
    """A node as HAProxy's configuration takes it, or what is wrong with it."""
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "http", text
    if scheme.lower() not in ("http", "https"):
        raise argparse.ArgumentTypeError(f"{text}: the scheme is not http or https")
    rest = rest[:-1] if separator and rest.endswith("/") else rest
    if "@" in rest:
        raise argparse.ArgumentTypeError(f"{text}: credentials belong to the clients' requests")
    address = node_without_scheme(rest)
    return f"https://{address}" if scheme.lower() == "https" else address


def url(text: str) -> str:
    address = node(text)
    found = address if "://" in address else f"http://{address}"
    if urlsplit(found).hostname in ("localhost", "127.0.0.1", "::1"):
        print(f"note: in a container, {address} is the container itself", file=sys.stderr)
    return found


def node_without_scheme(text: str) -> str:
    host, separator, number = text.rpartition(":")
    if not separator or not (number.isascii() and number.isdigit()) or not 1 <= int(number) <= 65535:
        raise argparse.ArgumentTypeError(f"{text}: the port is missing, or not from 1 to 65535; write host:port")
    if host.startswith("[") and host.endswith("]"):
        try:
            ipaddress.IPv6Address(host[1:-1])
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text}: the brackets do not hold an IPv6 address") from None
    elif ":" in host and "/" not in host:
        raise argparse.ArgumentTypeError(
            f"{text}: an IPv6 address needs brackets around it, such as [2001:db8::1]:9200"
        )
    elif len(host) > 253 or not HOST_NAME.fullmatch(host):
        raise argparse.ArgumentTypeError(f"{text}: {host!r} is not a host name")
    return text


def both(options: argparse.Namespace) -> Iterator[Image]:
    made_of = {
        "BASE_IMAGE": options.base_image,
        "HAPROXY_PACKAGE": options.haproxy_package,
        "INTERNAL_PORT": str(options.internal_port),
    }
    if options.agent_binary:
        made_of["AGENT"] = "binary"
    else:
        made_of["CARGO_PROFILE"] = options.cargo_profile
        if options.rust_image:
            made_of["RUST_IMAGE"] = options.rust_image
    primary = {
        "PRIMARY_NODES": " ".join(options.primary_nodes),
        "SHADOW_URL": options.shadow_haproxy,
        "KAFKA_BROKERS": ",".join(options.kafka_brokers),
    }
    yield Image("primary", options.primary_image, {**made_of, **primary})
    yield Image("shadow", options.shadow_image, {**made_of, "SHADOW_NODES": " ".join(options.shadow_nodes)})


def find_docker(named: str | None) -> str:
    """A client that can build with BuildKit, with an engine that answers."""
    candidates = [named] if named else list(clients_in_path())
    if not candidates:
        raise BuildError("there is no docker in PATH; install Docker, or name a client with --docker")
    able = next((client for client in candidates if can_build(client)), None)
    if able is None:
        raise BuildError(
            f"{' and '.join(candidates)} cannot build: the plugin buildx is missing; install docker-buildx"
        )
    asked = run(able, "version", "--format", "{{.Server.Version}}")
    if asked.returncode != 0:
        said = (asked.stderr.strip() or asked.stdout.strip()).splitlines()
        raise BuildError(
            f"no Docker engine answers {able}: {said[-1] if said else 'it says nothing'}\n"
            "Start one (systemctl start docker), or name one in DOCKER_HOST; "
            "without one, the demo runs as processes: demo/demo_haproxy.py --runtime local"
        )
    return able


def clients_in_path() -> Iterator[str]:
    seen = set()
    for folder in os.get_exec_path():
        client = shutil.which("docker", path=folder)
        if client and os.path.realpath(client) not in seen:
            seen.add(os.path.realpath(client))
            yield client


def can_build(client: str) -> bool:
    if run(client, "buildx", "version").returncode == 0:
        return True
    said = run(client, "--version").stdout
    version = re.search(r"version (\d+)\.", said)
    # Another client, such as Podman's, has its own way.
    return version is None or "Docker" not in said or int(version[1]) < BUILDX_SINCE


def run(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, check=False, capture_output=True, text=True)
    except OSError as error:
        raise BuildError(f"{command[0]} cannot be run: {error.strerror}") from error


def prepare(context: Path, options: argparse.Namespace) -> None:
    """Copies what the build needs, so that nothing else is sent to the engine."""
    print(f"Copying Docker-related files to: {context}")
    workspace = context.parent
    workspace.mkdir(mode=0o700, parents=True, exist_ok=True)
    if workspace.stat().st_uid != os.geteuid():
        raise BuildError(f"{workspace} belongs to another user; name your own folder with --workspace")
    if context.is_symlink():
        raise BuildError(f"{context} is a link; remove it")
    shutil.rmtree(context, ignore_errors=True)
    context.mkdir()
    if options.agent_binary:
        (context / "haproxy").mkdir()
        for name in ("Dockerfile", "entrypoint"):
            shutil.copy2(REPOSITORY / "haproxy" / name, context / "haproxy" / name)
        copy_binary(options.agent_binary, context / "spoa-agent")
        return
    for name in SOURCES:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, context / name, ignore=NOT_SOURCES, symlinks=True)
        else:
            shutil.copy2(source, context / name)


def copy_binary(binary: Path, copy: Path) -> None:
    shutil.copy2(binary, copy)
    strip = shutil.which("strip")
    if strip is not None:
        # Lines for debuggers make up most of a debug build. One that cannot be stripped is taken as it is.
        run(strip, "--strip-debug", str(copy))


def build(docker: str, image: Image, options: argparse.Namespace, context: Path) -> None:
    side = image.target.capitalize()
    print(f"Building HAProxy Docker image for {side} Cluster, on {options.base_image}...", flush=True)
    command = build_command(docker, image, options, context)
    done = subprocess.run(command, check=False, env={**os.environ, "DOCKER_BUILDKIT": "1"})
    if done.returncode != 0:
        raise BuildError(
            f"the {image.target} image could not be built; its last lines are above\n  {shlex.join(command)}"
        )
    print(f"{side} HAProxy image available locally w/ tag: {image.name} ({size_of(docker, image.name)})", flush=True)


def build_command(docker: str, image: Image, options: argparse.Namespace, context: Path) -> list[str]:
    command = [
        docker,
        "build",
        "--target",
        image.target,
        "--tag",
        image.name,
        "--file",
        str(context / "haproxy" / "Dockerfile"),
    ]
    for name, value in image.arguments.items():
        command += ["--build-arg", f"{name}={value}"]
    if options.ca_file:
        command += ["--secret", f"id=ca,src={options.ca_file}"]
    if options.no_cache:
        command.append("--no-cache")
    return [*command, "--progress", "plain", str(context)]


def size_of(docker: str, name: str) -> str:
    asked = run(docker, "image", "inspect", "--format", "{{.Size}}", name)
    size = asked.stdout.strip()
    return f"{int(size) / 1e6:.0f} MB" if size.isdigit() else "of unknown size"


if __name__ == "__main__":
    sys.exit(main())
