#!/usr/bin/env python3
"""Six nodes to play with, or to prove that everything balances; see `demo/demo_haproxy.py --help`."""

import sys
from pathlib import Path

if sys.version_info < (3, 9):
    sys.exit(f"demo_haproxy.py: it needs Python 3.9 or later, and this is {sys.version.split()[0]}")

sys.path.insert(1, str(Path(__file__).resolve().parent.parent / "traffic-gen"))

from haproxy_demo.options import read_options
from haproxy_demo.package import NoPackage, make_importable


def main() -> int:
    options = read_options()
    try:
        make_importable(may_build=options.agent is None)
    except NoPackage as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    from haproxy_demo.flow import main as run

    return run(options)


if __name__ == "__main__":
    sys.exit(main())
