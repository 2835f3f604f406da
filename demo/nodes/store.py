"""Indices and documents, with versions and sequence numbers. Knows nothing of HTTP.

Every node of a cluster shares one `Store`; one lock keeps each call whole.
"""

from __future__ import annotations

import base64
import fnmatch
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

PRIMARY_TERM = 1
FORBIDDEN_IN_NAMES = set('\\/*?"<>| ,#:')


class StoreError(Exception):
    """A refusal, with the status and type that Elasticsearch gives it."""

    def __init__(self, status: int, kind: str, reason: str, index: str | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.kind = kind
        self.reason = reason
        self.index = index

    def cause(self) -> dict[str, Any]:
        cause: dict[str, Any] = {"type": self.kind, "reason": self.reason}
        if self.index is not None:
            cause["index"] = self.index
        return cause


@dataclass
class Document:
    index: str
    id: str
    source: dict[str, Any]
    version: int
    seq_no: int
    generated: bool


@dataclass
class Index:
    name: str
    documents: dict[str, Document] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    mappings: dict[str, Any] = field(default_factory=dict)
    next_seq_no: int = 0
    # Versions of deleted documents, which a new document of that id goes on from.
    tombstones: dict[str, int] = field(default_factory=dict)

    def take_seq_no(self) -> int:
        taken = self.next_seq_no
        self.next_seq_no += 1
        return taken


@dataclass(frozen=True)
class Written:
    """What a write did. `result` is created, updated, deleted, noop or not_found."""

    index: str
    id: str
    result: str
    version: int
    seq_no: int


@dataclass(frozen=True)
class Condition:
    """What a write demands of the document as it is."""

    must_be_new: bool = False
    seq_no: int | None = None
    primary_term: int | None = None


ANY = Condition()


class Store:
    """All indices of one cluster."""

    def __init__(self) -> None:
        self._indices: dict[str, Index] = {}
        self.lock = threading.RLock()

    def create_index(self, name: str, body: dict[str, Any]) -> None:
        with self.lock:
            check_index_name(name)
            if name in self._indices:
                reason = f"index [{name}] already exists"
                raise StoreError(400, "resource_already_exists_exception", reason, name)
            self._indices[name] = Index(name, settings=body.get("settings", {}), mappings=body.get("mappings", {}))

    def delete_indices(self, expression: str) -> list[str]:
        with self.lock:
            names = [index.name for index in self.select(expression)]
            for name in names:
                del self._indices[name]
            return names

    def select(self, expression: str) -> list[Index]:
        """The indices that `a,b*`, `_all` or `*` name. A plain name must exist; a pattern need not match."""
        with self.lock:
            chosen: dict[str, Index] = {}
            for part in expression.split(","):
                if part == "_all" or "*" in part:
                    pattern = "*" if part == "_all" else part
                    names = fnmatch.filter(sorted(self._indices), pattern)
                else:
                    names = [part]
                for name in names:
                    chosen[name] = self._existing(name)
            return list(chosen.values())

    def get(self, index: str, id: str) -> Document | None:
        with self.lock:
            return self._existing(index).documents.get(id)

    def put(self, index: str, id: str | None, source: Any, condition: Condition = ANY) -> Written:
        """Writes a whole document. Without an id the store chooses one."""
        if not isinstance(source, dict):
            raise StoreError(400, "mapper_parsing_exception", "failed to parse: a document must be an object")
        with self.lock:
            place = self._existing_or_new(index)
            generated = id is None
            id = new_id() if id is None else check_id(id)
            old = place.documents.get(id)
            check_condition(index, id, old, condition)
            version = (old.version if old else place.tombstones.pop(id, 0)) + 1
            generated = old.generated if old else generated
            new = Document(index, id, source, version, place.take_seq_no(), generated)
            place.documents[id] = new
            return Written(index, id, "updated" if old else "created", version, new.seq_no)

    def update(self, index: str, id: str, body: Any, condition: Condition = ANY) -> Written:
        """Merges `doc` into a document, or writes `upsert` when there is none."""
        partial, upsert = check_update(body)
        with self.lock:
            place = self._existing_or_new(index)
            old = place.documents.get(id)
            if old is None:
                if upsert is None:
                    reason = f"[_doc][{id}]: document missing"
                    raise StoreError(404, "document_missing_exception", reason, index)
                return self.put(index, id, upsert)
            check_condition(index, id, old, condition)
            merged = merge(old.source, partial)
            if merged == old.source and body.get("detect_noop", True):
                return Written(index, id, "noop", old.version, old.seq_no)
            return self.put(index, id, merged)

    def delete(self, index: str, id: str, condition: Condition = ANY) -> Written:
        with self.lock:
            place = self._existing(index)
            old = place.documents.get(id)
            check_condition(index, id, old, condition)
            version = (old.version if old else place.tombstones.get(id, 0)) + 1
            place.documents.pop(id, None)
            place.tombstones[id] = version
            return Written(index, id, "deleted" if old else "not_found", version, place.take_seq_no())

    def dump(self) -> dict[str, list[dict[str, Any]]]:
        """Every document of every index, for comparison."""
        with self.lock:
            return {name: list(dump_index(index)) for name, index in sorted(self._indices.items())}

    def _existing(self, name: str) -> Index:
        index = self._indices.get(name)
        if index is None:
            raise StoreError(404, "index_not_found_exception", f"no such index [{name}]", name)
        return index

    def _existing_or_new(self, name: str) -> Index:
        if name not in self._indices:
            self.create_index(name, {})
        return self._indices[name]


def check_index_name(name: str) -> None:
    wrong = (
        not name
        or name in (".", "..")
        or name[0] in "_-+"
        or name != name.lower()
        or len(name.encode()) > 255
        or FORBIDDEN_IN_NAMES & set(name)
    )
    if wrong:
        reason = (
            f'Invalid index name [{name}], must be lowercase, of at most 255 bytes, and free of \\/*?"<>|,#: and spaces'
        )
        raise StoreError(400, "invalid_index_name_exception", reason, name)


def check_id(id: str) -> str:
    if not id or len(id.encode()) > 512:
        raise StoreError(400, "illegal_argument_exception", "an id must have 1 to 512 bytes")
    return id


def check_condition(index: str, id: str, old: Document | None, condition: Condition) -> None:
    if condition.must_be_new and old is not None:
        reason = f"[{id}]: version conflict, document already exists (current version [{old.version}])"
        raise StoreError(409, "version_conflict_engine_exception", reason, index)
    if condition.seq_no is None:
        return
    matches = old is not None and old.seq_no == condition.seq_no and condition.primary_term in (None, PRIMARY_TERM)
    if not matches:
        current = f"current document has seqNo [{old.seq_no}]" if old else "document does not exist"
        reason = f"[{id}]: version conflict, required seqNo [{condition.seq_no}], {current}"
        raise StoreError(409, "version_conflict_engine_exception", reason, index)


def check_update(body: Any) -> tuple[dict[str, Any], dict[str, Any] | None]:
    if not isinstance(body, dict):
        raise StoreError(400, "parsing_exception", "an update must be an object")
    if "script" in body:
        raise StoreError(400, "illegal_argument_exception", "the demo store runs no scripts; send [doc]")
    partial = body.get("doc", {})
    if not isinstance(partial, dict):
        raise StoreError(400, "parsing_exception", "[doc] must be an object")
    upsert = partial if body.get("doc_as_upsert") else body.get("upsert")
    return partial, upsert


def merge(old: dict[str, Any], partial: dict[str, Any]) -> dict[str, Any]:
    """Objects are merged, anything else is replaced."""
    merged = dict(old)
    for key, value in partial.items():
        before = merged.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            value = merge(before, value)
        merged[key] = value
    return merged


def new_id() -> str:
    """20 characters of URL-safe text, as Elasticsearch's own ids are."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes[:15]).decode()


def dump_index(index: Index) -> Iterator[dict[str, Any]]:
    for document in index.documents.values():
        yield {
            "_id": document.id,
            "_version": document.version,
            "id_generated": document.generated,
            "_source": document.source,
        }
