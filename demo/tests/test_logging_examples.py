"""The examples of what reads the images' traffic log: they can be parsed, and read the file that the images write."""

from __future__ import annotations

import json
import os
import re
import unittest
from pathlib import Path

HAPROXY = Path(__file__).resolve().parent.parent.parent / "haproxy"
LOGGING = HAPROXY / "logging"

# The largest body limit, twice for both bodies, and half as much again for quoting.
LONGEST_LINE = 3 * 4 * 1024 * 1024


def written_by_the_images() -> str:
    found = re.search(r"SPOA_AGENT_TRAFFIC_LOG_PATH=(\S+)", (HAPROXY / "Dockerfile").read_text())
    assert found is not None
    return found[1]


class LoggingExamplesTest(unittest.TestCase):
    def test_cloudwatch(self) -> None:
        config = json.loads((LOGGING / "amazon-cloudwatch-agent.json").read_text())
        (file,) = config["logs"]["logs_collected"]["files"]["collect_list"]
        self.assertEqual(written_by_the_images(), file["file_path"])

    def test_vector(self) -> None:
        try:
            import tomllib
        except ImportError:
            self.assertNotEqual("true", os.environ.get("CI"), "Python 3.11 is needed to read TOML")
            self.skipTest("NOT TESTED: Python 3.11 is needed to read TOML")
        config = tomllib.loads((LOGGING / "vector.toml").read_text())
        source = config["sources"]["traffic"]
        self.assertEqual([written_by_the_images()], source["include"])
        self.assertGreaterEqual(source["max_line_bytes"], LONGEST_LINE)
        self.assertEqual(["traffic"], config["transforms"]["exchanges"]["inputs"])
        self.assertEqual(["exchanges"], config["sinks"]["bucket"]["inputs"])

    def test_fluent_bit(self) -> None:
        config = sections((LOGGING / "fluent-bit.conf").read_text())
        parsers = sections((LOGGING / "fluent-bit-parsers.conf").read_text())
        source = config["INPUT"]
        self.assertEqual(written_by_the_images(), source["Path"])
        self.assertGreaterEqual(int(source["Buffer_Max_Size"].replace("M", "000000")), LONGEST_LINE)
        self.assertEqual(source["Parser"], parsers["PARSER"]["Name"])
        self.assertEqual(source["Tag"], config["OUTPUT"]["Match"])
        self.assertEqual("fluent-bit-parsers.conf", Path(config["SERVICE"]["Parsers_File"]).name)


def sections(text: str) -> dict[str, dict[str, str]]:
    """Of Fluent Bit's own format. Each line is a section, a key with a value, or a comment."""
    found: dict[str, dict[str, str]] = {}
    for line in filter(None, (line.strip() for line in text.splitlines())):
        if line.startswith("["):
            current = found.setdefault(line[1:-1], {})
        elif not line.startswith("#"):
            key, value = line.split(None, 1)
            assert key not in current, f"{key} is there twice"
            current[key] = value
    return found
