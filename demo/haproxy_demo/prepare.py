"""Finds what a local demonstration needs, or has it installed and built."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
from pathlib import Path

from stage.clusters import BUILTIN, engine_is_installed
from stage.processes import StageError

from . import show

REPOSITORY = Path(__file__).resolve().parent.parent.parent


def find_haproxy(options: argparse.Namespace) -> str:
    if not Path(options.haproxy).is_file() and options.agent is None:
        show.say("Installing HAProxy (scripts/setup quickstart)...")
        run(str(REPOSITORY / "scripts" / "setup"), "quickstart", what="HAProxy cannot be installed")
    if not Path(options.haproxy).is_file():
        raise StageError(f"--haproxy: {options.haproxy} is no file; scripts/setup quickstart installs HAProxy")
    return str(options.haproxy)


def find_agent(options: argparse.Namespace) -> Path:
    """As named, or from the environment, or built now."""
    named = options.agent or os.environ.get("SPOA_AGENT_BINARY")
    if named:
        agent = Path(named).resolve()
        if not os.access(agent, os.X_OK):
            raise StageError(f"SPOA_AGENT_BINARY: {agent} is no program")
        return agent
    if shutil.which("cargo") is None:
        raise StageError("there is no agent and no cargo to build it; name one with --agent, or run scripts/quickstart")
    show.say("Building the agent (the first time takes some minutes)...")
    run("cargo", "build", "--release", "--package", "spoa-agent", "--locked", what="the agent cannot be built")
    asked = subprocess.run(
        ["cargo", "metadata", "--locked", "--no-deps", "--format-version", "1"],
        cwd=REPOSITORY, check=False, capture_output=True, text=True,
    )  # fmt: skip
    return Path(json.loads(asked.stdout)["target_directory"]) / "release" / "spoa-agent"


def choose_engines(options: argparse.Namespace) -> tuple[str, str]:
    """Of primary and shadow. Says which, and why when real ones were wanted and cannot be had."""
    if options.nodes == "builtin":
        show.say("The nodes are the built-in store, as --nodes builtin asks: it is NOT Elasticsearch")
        return BUILTIN, BUILTIN
    wanted = ("elasticsearch", options.shadow_engine)
    why = why_not(set(wanted), options.agent is None)
    if not why:
        show.say(
            "The nodes are real: Elasticsearch 7.10.2"
            + (", OpenSearch 2.19 as the shadow" * (wanted[1] == "opensearch"))
        )
        return wanted
    cannot_do = options.nodes == "real" or options.shadow_engine != "elasticsearch" or options.generator == "benchmark"
    if cannot_do:
        raise StageError(f"real nodes cannot be had: {why}")
    show.say(f"Real nodes cannot be had: {why}\nThe nodes are the built-in store instead: it is NOT Elasticsearch")
    return BUILTIN, BUILTIN


def why_not(engines: set[str], may_install: bool) -> str:
    missing = sorted(engine for engine in engines if not engine_is_installed(engine))
    if missing and may_install:
        show.say(f"Fetching {' and '.join(missing)} (once; scripts/setup {' '.join(missing)})...")
        subprocess.run([str(REPOSITORY / "scripts" / "setup"), *missing], check=False)
        missing = [engine for engine in missing if not engine_is_installed(engine)]
    if not missing:
        return ""
    return f"{' and '.join(missing)} is not installed here; scripts/setup {' '.join(missing)} does that, and needs Java 17 and Maven"


def prepare_broker(options: argparse.Namespace, agent: Path) -> None:
    help = subprocess.run([str(agent), "run", "--help"], check=False, capture_output=True, text=True).stdout
    if "--kafka-brokers" not in help:
        raise StageError(f"--kafka: {agent} cannot offload to Kafka; build the agent anew")
    complete = REPOSITORY / ".cache" / "broker" / "complete"
    if not complete.is_file() and options.agent is None:
        show.say("Fetching the Kafka broker (once; scripts/setup broker)...")
        run(str(REPOSITORY / "scripts" / "setup"), "broker", what="the broker cannot be had")
    if not complete.is_file():
        raise StageError("--kafka: the broker is not installed here; scripts/setup broker does that")


def run(*command: str, what: str) -> None:
    if subprocess.run(command, cwd=REPOSITORY, check=False).returncode != 0:
        raise StageError(f"{what}: `{' '.join(command)}` failed; its last lines are above")
