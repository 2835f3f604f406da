"""What a search finds: the query, the order and the window. Knows nothing of HTTP, and scores nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from .store import Document, StoreError

Predicate = Callable[[Document], bool]

MAX_WINDOW = 10_000
WORD = re.compile(r"\w+")


def predicate(query: Any) -> Predicate | None:
    """What a document must be to be found. `None` finds all."""
    if query is None:
        return None
    if not isinstance(query, dict) or len(query) != 1:
        raise malformed("a query must be an object with one key, its kind")
    ((kind, body),) = query.items()
    if kind == "match_all":
        return None
    make = KINDS.get(kind)
    if make is None:
        raise malformed(f"unknown query [{kind}]; the demo store knows match_all, {', '.join(KINDS)}")
    return make(body)


def found(documents: Iterable[Document], query: Any) -> list[Document]:
    matches = predicate(query)
    return [document for document in documents if matches is None or matches(document)]


def match_none(_: Any) -> Predicate:
    return lambda document: False


def term(body: Any) -> Predicate:
    name, wanted = field_and_value(body, "value")
    return lambda document: wanted in values(document, name)


def terms(body: Any) -> Predicate:
    name, wanted = field_and_value(body, "value")
    if not isinstance(wanted, list):
        raise malformed("[terms] wants a list")
    return lambda document: any(value in wanted for value in values(document, name))


def match(body: Any) -> Predicate:
    """Any word in common, in any case."""
    name, wanted = field_and_value(body, "query")
    words = words_of(wanted)
    return lambda document: any(words & words_of(value) for value in values(document, name))


def range_(body: Any) -> Predicate:
    name, limits = field_and_value(body, None)
    if not isinstance(limits, dict) or not set(limits) <= set(COMPARISONS):
        raise malformed("[range] wants gt, gte, lt or lte")
    tests = [(COMPARISONS[word], limit) for word, limit in limits.items()]
    return lambda document: any(
        all(comparable(value, limit) and test(value, limit) for test, limit in tests)
        for value in values(document, name)
    )


def ids(body: Any) -> Predicate:
    wanted = set(body.get("values", [])) if isinstance(body, dict) else set()
    return lambda document: document.id in wanted


def exists(body: Any) -> Predicate:
    name = body.get("field", "") if isinstance(body, dict) else ""
    return lambda document: bool(values(document, name))


def bool_(body: Any) -> Predicate:
    if not isinstance(body, dict):
        raise malformed("[bool] wants an object")
    needed = clauses(body, "must") + clauses(body, "filter")
    optional = clauses(body, "should")
    barred = clauses(body, "must_not")
    one_needed = bool(optional) and not needed

    def matches(document: Document) -> bool:
        if not all(clause(document) for clause in needed) or any(clause(document) for clause in barred):
            return False
        return not one_needed or any(clause(document) for clause in optional)

    return matches


KINDS: dict[str, Callable[[Any], Predicate]] = {
    "match_none": match_none,
    "term": term,
    "terms": terms,
    "match": match,
    "range": range_,
    "ids": ids,
    "exists": exists,
    "bool": bool_,
}

COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "gt": lambda value, limit: value > limit,
    "gte": lambda value, limit: value >= limit,
    "lt": lambda value, limit: value < limit,
    "lte": lambda value, limit: value <= limit,
}


def window(body: dict[str, Any]) -> tuple[int, int]:
    """`from` and `size`."""
    start, size = body.get("from", 0), body.get("size", 10)
    if not all(isinstance(number, int) and number >= 0 for number in (start, size)):
        raise malformed("[from] and [size] must be whole numbers from 0")
    if start + size > MAX_WINDOW:
        reason = f"Result window is too large, from + size must be at most {MAX_WINDOW} but was {start + size}"
        raise StoreError(400, "illegal_argument_exception", reason)
    return start, size


def sort_keys(body: Any) -> list[tuple[str, bool]]:
    """Field and whether it is descending, from any form that [sort] may have."""
    if body is None:
        return []
    keys = []
    for entry in body if isinstance(body, list) else [body]:
        if isinstance(entry, str):
            keys.append((entry, False))
            continue
        if not isinstance(entry, dict) or len(entry) != 1:
            raise malformed("[sort] wants names, or objects with one name")
        ((name, order),) = entry.items()
        order = order.get("order", "asc") if isinstance(order, dict) else order
        keys.append((name, order == "desc"))
    return keys


def in_order(documents: list[Document], keys: list[tuple[str, bool]]) -> list[Document]:
    for name, descending in reversed(keys):
        having = [document for document in documents if sort_value(document, name) is not None]
        lacking = [document for document in documents if sort_value(document, name) is None]
        having.sort(key=lambda document: order_of(sort_value(document, name)), reverse=descending)
        documents = having + lacking
    return documents


def sort_value(document: Document, name: str) -> Any:
    if name == "_id":
        return document.id
    if name in ("_doc", "_seq_no"):
        return document.seq_no
    there = values(document, name)
    return there[0] if there else None


def order_of(value: Any) -> tuple[int, Any]:
    """Numbers before texts, so that a mixed field can be sorted."""
    return (0, value) if isinstance(value, (int, float)) else (1, str(value))


def values(document: Document, name: str) -> list[Any]:
    """The values of `a.b`, none when it is missing. `a.keyword` is `a`."""
    if name == "_id":
        return [document.id]
    here: Any = document.source
    for part in name[: -len(".keyword")].split(".") if name.endswith(".keyword") else name.split("."):
        if not isinstance(here, dict) or part not in here:
            return []
        here = here[part]
    if here is None:
        return []
    return here if isinstance(here, list) else [here]


def words_of(value: Any) -> set[str]:
    return set(WORD.findall(str(value).lower()))


def comparable(value: Any, limit: Any) -> bool:
    numbers = isinstance(value, (int, float)) and isinstance(limit, (int, float))
    return numbers or (isinstance(value, str) and isinstance(limit, str))


def clauses(body: dict[str, Any], name: str) -> list[Predicate]:
    written = body.get(name, [])
    made = [predicate(query) for query in (written if isinstance(written, list) else [written])]
    return [clause if clause is not None else (lambda document: True) for clause in made]


def field_and_value(body: Any, inner: str | None) -> tuple[str, Any]:
    """The field and its value, from `{f: v}` or `{f: {inner: v}}`."""
    if not isinstance(body, dict) or not body:
        raise malformed("a query on a field wants an object with the field's name")
    ((name, value),) = [item for item in body.items() if item[0] != "boost"][:1] or [("", None)]
    if inner is not None and isinstance(value, dict):
        value = value.get(inner)
    return name, value


def malformed(reason: str) -> StoreError:
    return StoreError(400, "parsing_exception", reason)
