#!/usr/bin/env python3
"""Sends traffic to a cluster; see `traffic-gen/run.py --help`."""

import sys

if sys.version_info < (3, 9):
    sys.exit(f"run.py: it needs Python 3.9 or later, and this is {sys.version.split()[0]}")

from traffic_gen.cli import main

if __name__ == "__main__":
    sys.exit(main())
