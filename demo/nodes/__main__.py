"""Starts the nodes of one cluster: `python3 -m nodes --cluster primary --listen 127.0.0.1:9200 --listen 127.0.0.1:9201`.

The nodes share one store. Port 0 takes a free port. One line per node tells its address; then they
serve until SIGTERM or SIGINT.
"""

from __future__ import annotations

import argparse
import signal
import threading

from .http_server import Server
from .rest import Rest
from .store import Store


def main() -> None:
    arguments = read_arguments()
    store = Store()
    names = [f"{arguments.cluster}-{number}" for number in range(1, len(arguments.listen) + 1)]
    servers = []
    for name, address in zip(names, arguments.listen):
        rest = Rest(store, arguments.cluster, name, names)
        servers.append(Server(address, rest.handle))
        print(f"{name} {address[0]}:{servers[-1].port}", flush=True)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    ended.wait()


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="nodes", description="A small document store that is not Elasticsearch.")
    parser.add_argument("--cluster", default="demo", metavar="NAME", help="the cluster's name")
    parser.add_argument(
        "--listen",
        action="append",
        type=address,
        metavar="HOST:PORT",
        help="one node's address, may be repeated (default: 127.0.0.1:9200 and 127.0.0.1:9201)",
    )
    arguments = parser.parse_args()
    arguments.listen = arguments.listen or [("127.0.0.1", 9200), ("127.0.0.1", 9201)]
    return arguments


def address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise argparse.ArgumentTypeError(f"{text} is not HOST:PORT")
    return host, int(port)


if __name__ == "__main__":
    main()
