"""The documents of our workload: the same bytes on every machine, made where they are needed instead of kept.

`python3 -m traffic_gen.documents FOLDER` writes them to a folder.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

COUNT = 5000
# What opensearch-benchmark reads instead in its test mode.
COUNT_IN_TEST_MODE = 1000

SEED = 7102
# Milliseconds since 1970; the first document's time.
START = 1_700_000_000_000
WORDS = (
    "amber birch cedar dune ember fjord grove heath islet juniper knoll larch moor north oasis pine quarry river "
    "slate tarn upland valley willow yew zephyr café smörgås naïve Straße 北 море"
).split()
COUNTRIES = "AT BR CH DE ES FI GB IN JP KE NO US".split()
STATES = "new paid packed shipped returned".split()


def write(folder: Path) -> list[Path]:
    """Writes what is missing in `folder`; a file is there whole or not at all."""
    files = {"documents.json": COUNT, "documents-1k.json": COUNT_IN_TEST_MODE}
    for name, count in files.items():
        if not (folder / name).exists():
            write_file(folder / name, count)
    return [folder / name for name in files]


def write_file(path: Path, count: int) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            for document in documents(count):
                file.write(json.dumps(document, ensure_ascii=False) + "\n")
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def documents(count: int, seed: int = SEED) -> Iterator[dict[str, Any]]:
    chance = random.Random(seed)
    for number in range(count):
        yield document(number, chance)


def document(number: int, chance: random.Random) -> dict[str, Any]:
    """Only `random()` is used of `chance`: its sequence is the one that Python promises to keep."""
    return {
        "number": number,
        "time": START + number * 1000,
        "customer": f"customer-{below(200, chance)}",
        "country": pick(COUNTRIES, chance),
        "status": pick(STATES, chance),
        "title": " ".join(pick(WORDS, chance) for _ in range(4)),
        "price": below(100_000, chance) / 100,
        "amount": 1 + below(20, chance),
        "place": {"lat": below(12_000, chance) / 100 - 60, "lon": below(36_000, chance) / 100 - 180},
        "tags": sorted({pick(WORDS, chance) for _ in range(3)}),
        "text": " ".join(pick(WORDS, chance) for _ in range(10 + below(60, chance))),
        "paid": chance.random() < 0.5,
    }


def below(limit: int, chance: random.Random) -> int:
    return int(chance.random() * limit)


def pick(values: list[str], chance: random.Random) -> str:
    return values[below(len(values), chance)]


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        sys.exit("usage: python3 -m traffic_gen.documents FOLDER")
    write(Path(sys.argv[1]))
