"""Where our workload's requests come from that a file cannot hold: changes of documents, one by one and in bulks.

opensearch-benchmark loads this file and calls `register`. Each client changes documents of its own, and some
that all clients share; what it does depends on its number alone.
"""

from __future__ import annotations

import json
import random
from typing import Any

SHARED_DOCUMENTS = 10
FEW_DOCUMENTS = 5
STATES = ["paid", "packed", "shipped", "returned"]


def register(registry: Any) -> None:
    registry.register_param_source("mixed-bulk", MixedBulk)
    registry.register_param_source("documents", Documents)
    registry.register_param_source("documents-without-ids", DocumentsWithoutIds)
    registry.register_param_source("reads", Reads)
    registry.register_param_source("multi-search", MultiSearch)


class Source:
    """One client's requests, without an end. `ids` are the documents that it has made and that are still there."""

    infinite = True

    def __init__(self, workload: Any, params: dict[str, Any], client: int = 0, **_: Any) -> None:
        self.workload = workload
        self.given = params
        self.index = params["index"]
        self.client = client
        self.chance = random.Random(f"{type(self).__name__} {client}")
        self.next = 0
        self.ids: list[str] = []

    def partition(self, index: int, _: int) -> Source:
        return type(self)(self.workload, self.given, client=index)

    def params(self) -> dict[str, Any]:
        raise NotImplementedError

    def new_id(self) -> str:
        self.next += 1
        self.ids.append(f"{type(self).__name__.lower()}-{self.client}-{self.next}")
        return self.ids[-1]

    def old_id(self) -> str:
        return self.chance.choice(self.ids)

    def gone_id(self) -> str:
        return self.ids.pop(self.chance.randrange(len(self.ids)))

    def shared_id(self) -> str:
        return f"shared-{self.chance.randrange(SHARED_DOCUMENTS)}"

    def document(self) -> dict[str, Any]:
        self.next += 1
        return {
            "number": self.next,
            "customer": f"customer-{self.client}",
            "status": "new",
            "country": self.chance.choice(["AT", "CH", "DE"]),
            "title": self.chance.choice(["amber fjord", "cedar grove", "Straße 北"]),
            "price": self.chance.randrange(100_000) / 100,
            "paid": False,
        }

    def change(self) -> dict[str, Any]:
        return {"status": self.chance.choice(STATES), "amount": self.chance.randrange(20), "paid": True}


class MixedBulk(Source):
    """Bulks that make, replace, change and delete documents. None of their items is meant to fail."""

    def params(self) -> dict[str, Any]:
        size = int(self.given.get("bulk-size", 100))
        lines = [line for _ in range(size) for line in self.item()]
        return {"body": ndjson(lines), "bulk-size": size, "unit": "docs", "action-metadata-present": True, "type": None,
                "request-params": {}}  # fmt: skip

    def item(self) -> list[dict[str, Any]]:
        if len(self.ids) < FEW_DOCUMENTS:
            return [self.act("index", self.new_id()), self.document()]
        action = self.chance.choice(["create", "without an id", "replace", "update", "upsert", "delete"])
        if action == "create":
            return [self.act("create", self.new_id()), self.document()]
        if action == "without an id":
            return [{"index": {"_index": self.index}}, self.document()]
        if action == "replace":
            return [self.act("index", self.old_id()), self.document()]
        if action == "update":
            return [self.act("update", self.old_id()), {"doc": self.change()}]
        if action == "upsert":
            return [self.act("update", self.new_id()), {"doc": self.document(), "doc_as_upsert": True}]
        return [self.act("delete", self.gone_id())]

    def act(self, action: str, id: str) -> dict[str, Any]:
        return {action: {"_index": self.index, "_id": id}}


class Documents(Source):
    """Single documents with ids: made, replaced, changed, deleted; also such that are refused (409) or not there (404)."""

    def params(self) -> dict[str, Any]:
        if len(self.ids) < FEW_DOCUMENTS:
            return self.request("PUT", f"_doc/{self.new_id()}", self.document())
        action = self.chance.choice(
            ["create", "create again", "replace", "update", "delete", "shared", "update shared"]
        )
        if action == "create":
            return self.request("PUT", f"_create/{self.new_id()}", self.document())
        if action == "create again":
            return self.request("PUT", f"_create/{self.old_id()}", self.document())
        if action == "replace":
            return self.request("PUT", f"_doc/{self.old_id()}?refresh=false", self.document())
        if action == "update":
            return self.request("POST", f"_update/{self.old_id()}", {"doc": self.change()})
        if action == "delete":
            return self.request("DELETE", f"_doc/{self.gone_id()}")
        if action == "shared":
            return self.request("PUT", f"_doc/{self.shared_id()}", self.document())
        return self.request("POST", f"_update/{self.shared_id()}", {"doc": self.change()})

    def request(self, method: str, call: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        return raw(method, f"/{self.index}/{call}", body)


class DocumentsWithoutIds(Source):
    """Documents whose ids the cluster chooses."""

    def params(self) -> dict[str, Any]:
        return raw("POST", f"/{self.index}/_doc", self.document())


class Reads(Source):
    """Documents by id, one and several; the ids are those of the first bulk."""

    def params(self) -> dict[str, Any]:
        ids = [f"{self.chance.randrange(1, 1000):010d}" for _ in range(5)]
        action = self.chance.choice(["get", "head", "source", "mget", "not there"])
        if action == "get":
            return raw("GET", f"/{self.index}/_doc/{ids[0]}")
        if action == "head":
            return raw("HEAD", f"/{self.index}/_doc/{ids[0]}")
        if action == "source":
            return raw("GET", f"/{self.index}/_source/{ids[0]}")
        if action == "mget":
            return raw("POST", f"/{self.index}/_mget", {"ids": ids})
        return raw("GET", f"/{self.index}/_doc/nobody")


class MultiSearch(Source):
    """Two searches in one request."""

    def params(self) -> dict[str, Any]:
        country = self.chance.choice(["AT", "CH", "DE"])
        lines: list[dict[str, Any]] = [
            {"index": "traffic-orders"},
            {"size": 1, "sort": ["number"]},
            {"index": "traffic-events"},
            {"size": 0, "query": {"term": {"country": country}}},
        ]
        return {**raw("POST", "/_msearch"), "body": ndjson(lines), "headers": {"content-type": "application/x-ndjson"}}


def ndjson(lines: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def raw(method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    request: dict[str, Any] = {"method": method, "path": path, "request-params": {}, "ignore": [404, 409]}
    return request if body is None else {**request, "body": body}
