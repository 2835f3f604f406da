#!/usr/bin/env python3
"""Six nodes to play with, or to prove that everything balances; see `demo/demo_haproxy.py --help`."""

import sys
from pathlib import Path

if sys.version_info < (3, 9):
    sys.exit(f"demo_haproxy.py: it needs Python 3.9 or later, and this is {sys.version.split()[0]}")

sys.path.insert(1, str(Path(__file__).resolve().parent.parent / "traffic-gen"))

from haproxy_demo.flow import main

if __name__ == "__main__":
    sys.exit(main())
