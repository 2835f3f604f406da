"""The REST calls: a request in, a call on the store, an answer in Elasticsearch's shapes out."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, unquote

from . import query
from .http_server import Request, Response
from .store import PRIMARY_TERM, Condition, Document, Index, Store, StoreError, Written

WHAT_THIS_IS = "a small document store for demonstrations; it is NOT Elasticsearch"
CREATED = 201


class Call:
    """A request, taken apart."""

    def __init__(self, request: Request) -> None:
        path, _, text = request.target.partition("?")
        self.method = request.method
        self.segments = [unquote(part) for part in path.split("/") if part]
        self.parameters = {name: found[-1] for name, found in parse_qs(text, keep_blank_values=True).items()}
        self.raw = request.body
        self.headers = request.headers

    def is_set(self, name: str) -> bool:
        """`?name`, `?name=true`."""
        return self.parameters.get(name, "false") in ("", "true")

    def body(self) -> Any:
        """The body as JSON; an empty object without one."""
        return parse(self.raw) if self.raw.strip() else {}

    def object(self) -> dict[str, Any]:
        body = self.body()
        if not isinstance(body, dict):
            raise StoreError(400, "parsing_exception", "the body must be an object")
        return body

    def condition(self) -> Condition:
        return Condition(
            must_be_new=self.parameters.get("op_type") == "create",
            seq_no=whole_number(self.parameters, "if_seq_no"),
            primary_term=whole_number(self.parameters, "if_primary_term"),
        )


# Status and body: a `str` is sent as text, anything else as JSON.
Answer = tuple[int, Any]


class Rest:
    """Answers the requests to one node."""

    def __init__(self, store: Store, cluster: str, node: str, nodes: list[str]) -> None:
        self.store = store
        self.cluster = cluster
        self.node = node
        self.nodes = nodes

    def handle(self, request: Request) -> Response:
        call = Call(request)
        try:
            status, body = self.answer(call)
        except StoreError as error:
            cause = error.cause()
            status, body = error.status, {"error": {"root_cause": [cause], **cause}, "status": error.status}
        except Exception as error:  # A mistake of ours must not end the connection without a word.
            status, body = 500, {"error": f"{type(error).__name__}: {error}", "status": 500}
        return self.response(call, status, body)

    def answer(self, call: Call) -> Answer:
        segments = call.segments
        if not segments:
            return self.only(call, "GET HEAD", self.banner)
        if segments[0].startswith("_"):
            return self.about_all(call, segments[0], segments[1:])
        if len(segments) == 1:
            return self.about_index(call, segments[0])
        return self.within_index(call, segments[0], segments[1], segments[2:])

    def about_all(self, call: Call, name: str, rest: list[str]) -> Answer:
        if name == "_cat" and len(rest) >= 1:
            return self.cat(call, rest[0])
        if name == "_cluster" and rest[:1] == ["health"]:
            return self.only(call, "GET HEAD", self.health)
        if name == "_demo" and rest == ["documents"]:
            return self.only(call, "GET", self.documents)
        if name in ("_all", "*"):
            return self.within_index(call, "_all", rest[0], rest[1:]) if rest else self.about_index(call, "_all")
        if rest or name not in ("_bulk", "_search", "_count", "_mget", "_refresh", "_flush"):
            raise no_handler(call)
        return self.within_index(call, None, name, [])

    def within_index(self, call: Call, index: str | None, name: str, rest: list[str]) -> Answer:
        if name in ("_doc", "_create", "_update", "_source") and index is not None and len(rest) <= 1:
            return self.about_document(call, index, name, rest[0] if rest else None)
        if rest:
            raise no_handler(call)
        everywhere = index if index is not None else "_all"
        if name == "_bulk":
            return self.only(call, "POST PUT", lambda call: self.bulk(call, index))
        if name == "_mget":
            return self.only(call, "GET POST", lambda call: self.mget(call, index))
        if name == "_search":
            return self.only(call, "GET POST", lambda call: self.search(call, everywhere))
        if name == "_count":
            return self.only(call, "GET POST", lambda call: self.count(call, everywhere))
        if name in ("_refresh", "_flush"):
            return self.only(call, "GET POST", lambda call: self.refresh(everywhere))
        raise no_handler(call)

    # Indices.

    def about_index(self, call: Call, name: str) -> Answer:
        if call.method == "PUT":
            self.store.create_index(name, call.object())
            return 200, {"acknowledged": True, "shards_acknowledged": True, "index": name}
        if call.method == "DELETE":
            self.store.delete_indices(name)
            return 200, {"acknowledged": True}
        if call.method in ("GET", "HEAD"):
            return 200, {index.name: describe(index) for index in self.store.select(name)}
        raise wrong_method(call, "GET HEAD PUT DELETE")

    def refresh(self, expression: str) -> Answer:
        """Nothing to do: writes are visible at once."""
        count = len(self.store.select(expression))
        return 200, {"_shards": {"total": 2 * count, "successful": 2 * count, "failed": 0}}

    # Documents.

    def about_document(self, call: Call, index: str, name: str, id: str | None) -> Answer:
        if id is None:
            if name != "_doc":
                raise no_handler(call)
            return self.only(call, "POST", lambda call: self.put(call, index, None, call.condition()))
        if name == "_create":
            return self.only(call, "PUT POST", lambda call: self.put(call, index, id, Condition(must_be_new=True)))
        if name == "_update":
            return self.only(call, "POST", lambda call: self.update(call, index, id))
        if call.method in ("GET", "HEAD"):
            return self.get(index, id, source_only=name == "_source")
        if name == "_source":
            raise wrong_method(call, "GET HEAD")
        if call.method in ("PUT", "POST"):
            return self.put(call, index, id, call.condition())
        if call.method == "DELETE":
            written = self.store.delete(index, id, call.condition())
            return (404 if written.result == "not_found" else 200), told(written)
        raise wrong_method(call, "GET HEAD PUT POST DELETE")

    def put(self, call: Call, index: str, id: str | None, condition: Condition) -> Answer:
        written = self.store.put(index, id, parse(call.raw), condition)
        return status_of(written), told(written)

    def update(self, call: Call, index: str, id: str) -> Answer:
        written = self.store.update(index, id, call.object(), call.condition())
        return status_of(written), told(written)

    def get(self, index: str, id: str, source_only: bool) -> Answer:
        document = self.store.get(index, id)
        if source_only:
            if document is None:
                raise StoreError(404, "resource_not_found_exception", f"Document not found [{index}]/[{id}]")
            return 200, document.source
        return (200 if document else 404), shown(index, id, document)

    def mget(self, call: Call, index: str | None) -> Answer:
        body = call.object()
        wanted = body.get("docs") or [{"_id": id} for id in body.get("ids", [])]
        return 200, {"docs": [self.mget_one(entry, index) for entry in wanted]}

    def mget_one(self, entry: dict[str, Any], index: str | None) -> dict[str, Any]:
        name, id = entry.get("_index", index) or "", str(entry.get("_id", ""))
        try:
            return shown(name, id, self.store.get(name, id))
        except StoreError as error:
            return {
                "_index": name,
                "_type": "_doc",
                "_id": id,
                "error": {"root_cause": [error.cause()], **error.cause()},
            }

    def bulk(self, call: Call, index: str | None) -> Answer:
        started = time.monotonic()
        actions = bulk_actions(call.raw, index)
        items = [self.bulk_item(*action) for action in actions]
        errors = any("error" in result for item in items for result in item.values())
        return 200, {"took": took(started), "errors": errors, "items": items}

    def bulk_item(self, action: str, index: str, id: str | None, condition: Condition, source: Any) -> dict[str, Any]:
        try:
            if action == "delete":
                written = self.store.delete(index, id or "", condition)
            elif action == "update":
                written = self.store.update(index, id or "", source, condition)
            else:
                written = self.store.put(index, id, source, condition)
        except StoreError as error:
            result = {"_index": index, "_type": "_doc", "_id": id, "status": error.status, "error": error.cause()}
            return {action: result}
        status = 404 if written.result == "not_found" else status_of(written)
        return {action: {**told(written), "status": status}}

    # Searches.

    def search(self, call: Call, expression: str) -> Answer:
        started = time.monotonic()
        body = call.object()
        for name in ("from", "size"):
            if name in call.parameters:
                body[name] = whole_number(call.parameters, name)
        if "aggs" in body or "aggregations" in body:
            raise StoreError(400, "parsing_exception", "the demo store has no aggregations")
        start, size = query.window(body)
        keys = query.sort_keys(body.get("sort"))
        with self.store.lock:
            indices = self.store.select(expression)
            found = [d for index in indices for d in query.found(index.documents.values(), body.get("query"))]
        shown = query.in_order(found, keys)[start : start + size]
        hits = [hit(document, keys, body.get("_source", True)) for document in shown]
        return 200, {
            "took": took(started),
            "timed_out": False,
            "_shards": shards_searched(indices),
            "hits": {
                "total": {"value": len(found), "relation": "eq"},
                "max_score": 1.0 if hits and not keys else None,
                "hits": hits,
            },
        }

    def count(self, call: Call, expression: str) -> Answer:
        wanted = call.object().get("query")
        with self.store.lock:
            indices = self.store.select(expression)
            count = sum(len(query.found(index.documents.values(), wanted)) for index in indices)
        return 200, {"count": count, "_shards": shards_searched(indices)}

    # The cluster.

    def banner(self, call: Call) -> Answer:
        return 200, {
            "name": self.node,
            "cluster_name": self.cluster,
            "version": {"number": "0.0.0", "distribution": "spoa-agent demo store"},
            "tagline": WHAT_THIS_IS,
        }

    def health(self, call: Call) -> Answer:
        count = len(self.store.select("_all"))
        return 200, {
            "cluster_name": self.cluster,
            "status": "green",
            "timed_out": False,
            "number_of_nodes": len(self.nodes),
            "number_of_data_nodes": len(self.nodes),
            "active_primary_shards": count,
            "active_shards": 2 * count,
            "relocating_shards": 0,
            "initializing_shards": 0,
            "unassigned_shards": 0,
        }

    def cat(self, call: Call, what: str) -> Answer:
        rows: list[dict[str, str]]
        if what == "indices":
            rows = [cat_index(index) for index in self.store.select("_all")]
        elif what == "nodes":
            rows = [{"name": node, "cluster": self.cluster, "what": "demo store"} for node in self.nodes]
        else:
            raise no_handler(call)
        return 200, rows if call.parameters.get("format") == "json" else as_text(rows, call.is_set("v"))

    def documents(self, call: Call) -> Answer:
        return 200, {"cluster": self.cluster, "indices": self.store.dump()}

    # Answers.

    def only(self, call: Call, methods: str, answer: Callable[[Call], Answer]) -> Answer:
        if call.method not in methods.split():
            raise wrong_method(call, methods)
        return answer(call)

    def response(self, call: Call, status: int, body: Any) -> Response:
        headers = {"x-demo-node": self.node}
        if "x-opaque-id" in call.headers:
            headers["x-opaque-id"] = call.headers["x-opaque-id"]
        if status == CREATED and "_id" in body:
            headers["location"] = f"/{body['_index']}/_doc/{body['_id']}"
        if isinstance(body, str):
            return Response(status, body.encode(), "text/plain; charset=UTF-8", headers)
        if call.is_set("pretty"):
            return Response(status, (json.dumps(body, indent=2, ensure_ascii=False) + "\n").encode(), headers=headers)
        return Response(status, json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode(), headers=headers)


def bulk_actions(raw: bytes, index: str | None) -> list[tuple[str, str, str | None, Condition, Any]]:
    """The actions of an NDJSON body: kind, index, id, condition, source. Refuses the whole body or none of it."""
    if not raw.endswith(b"\n"):
        raise StoreError(400, "illegal_argument_exception", "The bulk request must be terminated by a newline [\\n]")
    lines = iter([line for line in raw.split(b"\n") if line.strip()])
    actions = []
    for line in lines:
        action, target = bulk_action(line)
        name = target.get("_index", index)
        id = target.get("_id")
        if not name or (id is None and action in ("update", "delete")):
            raise StoreError(400, "action_request_validation_exception", f"[{action}] lacks an index or an id")
        condition = Condition(action == "create", target.get("if_seq_no"), target.get("if_primary_term"))
        source = None
        if action != "delete":
            following = next(lines, None)
            if following is None:
                raise StoreError(400, "illegal_argument_exception", f"[{action}] lacks the line with its document")
            source = parse(following)
        actions.append((action, name, None if id is None else str(id), condition, source))
    return actions


def bulk_action(line: bytes) -> tuple[str, dict[str, Any]]:
    written = parse(line)
    if not isinstance(written, dict) or len(written) != 1:
        raise StoreError(400, "illegal_argument_exception", "Malformed action/metadata line, expected one action")
    ((action, target),) = written.items()
    if action not in ("index", "create", "update", "delete") or not isinstance(target, dict):
        raise StoreError(
            400, "illegal_argument_exception", f"Malformed action/metadata line, unknown action [{action}]"
        )
    return action, target


def told(written: Written) -> dict[str, Any]:
    return {
        "_index": written.index,
        "_type": "_doc",
        "_id": written.id,
        "_version": written.version,
        "result": written.result,
        "_shards": {"total": 2, "successful": 2, "failed": 0},
        "_seq_no": written.seq_no,
        "_primary_term": PRIMARY_TERM,
    }


def shown(index: str, id: str, document: Document | None) -> dict[str, Any]:
    shown: dict[str, Any] = {"_index": index, "_type": "_doc", "_id": id}
    if document is None:
        return {**shown, "found": False}
    return {
        **shown,
        "_version": document.version,
        "_seq_no": document.seq_no,
        "_primary_term": PRIMARY_TERM,
        "found": True,
        "_source": document.source,
    }


def hit(document: Document, keys: list[tuple[str, bool]], source: Any) -> dict[str, Any]:
    hit: dict[str, Any] = {
        "_index": document.index,
        "_type": "_doc",
        "_id": document.id,
        "_score": None if keys else 1.0,
    }
    if source is True:
        hit["_source"] = document.source
    elif source is not False:
        names = [source] if isinstance(source, str) else list(source)
        hit["_source"] = {name: document.source[name] for name in names if name in document.source}
    if keys:
        hit["sort"] = [query.sort_value(document, name) for name, _ in keys]
    return hit


def describe(index: Index) -> dict[str, Any]:
    return {"aliases": {}, "mappings": index.mappings, "settings": index.settings}


def cat_index(index: Index) -> dict[str, str]:
    return {
        "health": "green",
        "status": "open",
        "index": index.name,
        "pri": "1",
        "rep": "1",
        "docs.count": str(len(index.documents)),
    }


def as_text(rows: list[dict[str, str]], with_names: bool) -> str:
    lines = [list(row.values()) for row in rows]
    if with_names and rows:
        lines.insert(0, list(rows[0]))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))] if lines else []
    return "".join(" ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() + "\n" for line in lines)


def shards_searched(indices: list[Index]) -> dict[str, int]:
    return {"total": len(indices), "successful": len(indices), "skipped": 0, "failed": 0}


def status_of(written: Written) -> int:
    return CREATED if written.result == "created" else 200


def took(started: float) -> int:
    return int((time.monotonic() - started) * 1000)


def parse(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise StoreError(400, "parse_exception", f"the body is not JSON: {error}") from None


def whole_number(parameters: dict[str, str], name: str) -> int | None:
    text = parameters.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()):
        raise StoreError(400, "illegal_argument_exception", f"Failed to parse [{name}] with value [{text}]")
    return int(text)


def no_handler(call: Call) -> StoreError:
    uri = "/" + "/".join(call.segments)
    return StoreError(400, "no_handler", f"no handler found for uri [{uri}] and method [{call.method}]; {WHAT_THIS_IS}")


def wrong_method(call: Call, methods: str) -> StoreError:
    return StoreError(405, "method_not_allowed", f"Incorrect HTTP method [{call.method}], allowed: [{methods}]")
