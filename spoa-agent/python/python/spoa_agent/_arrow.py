"""Exchanges and pairs as Arrow tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Literal, Optional, Union

from ._native import ArrowStream, Exchange, ExchangeReader, Pair, PairReader

if TYPE_CHECKING:
    import pyarrow

Kind = Literal["exchange", "pair"]


def arrow_stream(
    items: Union[Iterable[Exchange], Iterable[Pair]],
    *,
    batch_size: int = 1024,
    bodies: bool = True,
    kind: Optional[Kind] = None,
) -> ArrowStream:
    """Exchanges or pairs as a stream of record batches, for everything that takes an Arrow C stream; read lazily, and once.

    polars (`polars.DataFrame(arrow_stream(...))`), DuckDB, pandas and pyarrow take it. No package is needed for it. `kind` says what an
    iterable holds, and is found out by its first item when it is left out; an empty one counts as exchanges.

    Text that is not UTF-8 has U+FFFD in place of what cannot be read; bodies are binary. `bodies=False` leaves them out.
    """
    if kind is None:
        kind, items = _kind_of(items)
    return ArrowStream(items, kind=kind, batch_size=batch_size, bodies=bodies)


def to_arrow(
    items: Union[Iterable[Exchange], Iterable[Pair]],
    batch_size: int = 1024,
    *,
    bodies: bool = True,
    kind: Optional[Kind] = None,
) -> pyarrow.RecordBatchReader:
    """The same as a `pyarrow.RecordBatchReader`: `.read_all()` makes it a table, `.read_pandas()` a data frame.

    slow = to_arrow(read_journal("/srv/journal"), bodies=False).read_pandas().query("duration_us > 1e6")
    """
    try:
        import pyarrow
    except ImportError as error:
        raise ImportError("to_arrow needs pyarrow (pip install 'spoa-agent[arrow]'); arrow_stream needs nothing") from error
    stream = arrow_stream(items, batch_size=batch_size, bodies=bodies, kind=kind)
    return pyarrow.RecordBatchReader.from_stream(stream)


def _kind_of(items: Union[Iterable[Exchange], Iterable[Pair]]) -> tuple[Kind, Union[Iterable[Exchange], Iterable[Pair]]]:
    if isinstance(items, ExchangeReader):
        return "exchange", items
    if isinstance(items, PairReader):
        return "pair", items
    iterator: Iterator[Union[Exchange, Pair]] = iter(items)
    for first in iterator:
        kind: Kind = "pair" if isinstance(first, Pair) else "exchange"
        return kind, chain([first], iterator)  # type: ignore[return-value]
    return "exchange", ()
