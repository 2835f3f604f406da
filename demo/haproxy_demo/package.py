"""Finds the package `spoa_agent`, or has it built. Imports nothing that needs it."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent
SCRIPT = REPOSITORY / "scripts" / "python_package"
BUILT = REPOSITORY / ".cache" / "python" / "path"


class NoPackage(Exception):
    """It is not here. The text is for people."""


def make_importable(may_build: bool) -> None:
    """The one that is installed, or the one that was built here; built anew only when that may be, as sources may have changed."""
    if importlib.util.find_spec("spoa_agent") is not None:
        return
    if may_build and shutil.which("cargo") is not None:
        print(
            "Building the Python package spoa_agent (scripts/python_package path; the first time takes a minute)...",
            flush=True,
        )
        done = subprocess.run([str(SCRIPT), "path"], check=False, stdout=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise NoPackage("the Python package spoa_agent cannot be built; the lines above tell why")
        sys.path.append(done.stdout.strip().splitlines()[-1])
    elif (BUILT / "spoa_agent").is_dir():
        sys.path.append(str(BUILT))
    else:
        raise NoPackage(
            "the Python package spoa_agent is not here; scripts/python_package path builds it, and pip installs its wheel"
        )
