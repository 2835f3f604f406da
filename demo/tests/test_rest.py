"""The REST calls, in Elasticsearch's shapes."""

import json
import unittest
from typing import Any

from nodes.http_server import Request
from nodes.rest import Rest
from nodes.store import Store


class RestTest(unittest.TestCase):
    def setUp(self) -> None:
        self.rest = Rest(Store(), "demo", "demo-1", ["demo-1", "demo-2"])

    def call(self, method: str, target: str, body: Any = b"") -> tuple[int, Any]:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = self.rest.handle(Request(method, target, {}, raw, True))
        is_json = answer.content_type.startswith("application/json")
        return answer.status, json.loads(answer.body) if is_json else answer.body.decode()

    def bulk(self, target: str, *lines: Any) -> tuple[int, Any]:
        return self.call("POST", target, b"".join(json.dumps(line).encode() + b"\n" for line in lines))

    def found(self, query: Any, **more: Any) -> list[str]:
        status, answer = self.call("POST", "/a/_search", {"query": query, "size": 100, **more})
        self.assertEqual(200, status, answer)
        return [hit["_id"] for hit in answer["hits"]["hits"]]

    def test_the_banner_says_that_it_is_not_elasticsearch(self) -> None:
        status, answer = self.call("GET", "/")
        self.assertEqual((200, "demo-1"), (status, answer["name"]))
        self.assertIn("NOT Elasticsearch", answer["tagline"])

    def test_a_document_is_created_read_replaced_and_deleted(self) -> None:
        status, answer = self.call("PUT", "/a/_doc/1", {"x": 1})
        self.assertEqual(201, status)
        expected = {"_index": "a", "_id": "1", "_version": 1, "result": "created", "_seq_no": 0, "_primary_term": 1}
        self.assertEqual(expected, {key: answer[key] for key in expected})
        self.assertEqual({"x": 1}, self.call("GET", "/a/_doc/1")[1]["_source"])
        self.assertEqual((200, "updated"), self.result("PUT", "/a/_doc/1", {"x": 2}))
        self.assertEqual((200, {"x": 2}), self.call("GET", "/a/_source/1"))
        self.assertEqual((200, "deleted"), self.result("DELETE", "/a/_doc/1"))
        self.assertEqual((404, "not_found"), self.result("DELETE", "/a/_doc/1"))
        self.assertEqual((404, False), (self.call("GET", "/a/_doc/1")[0], self.call("GET", "/a/_doc/1")[1]["found"]))

    def result(self, method: str, target: str, body: Any = b"") -> tuple[int, str]:
        status, answer = self.call(method, target, body)
        return status, answer["result"]

    def test_an_id_may_hold_an_escaped_slash(self) -> None:
        self.call("PUT", "/a/_doc/x%2Fy", {})
        self.assertEqual("x/y", self.call("GET", "/a/_doc/x%2Fy")[1]["_id"])

    def test_create_in_each_of_its_forms_refuses_a_taken_id(self) -> None:
        self.assertEqual(201, self.call("PUT", "/a/_create/1", {})[0])
        self.assertEqual(409, self.call("POST", "/a/_create/1", {})[0])
        self.assertEqual(409, self.call("PUT", "/a/_doc/1?op_type=create", {})[0])

    def test_a_bulk_tells_what_became_of_each_item(self) -> None:
        status, answer = self.bulk(
            "/a/_bulk",
            {"index": {"_id": "1"}}, {"x": 1},
            {"create": {"_id": "1"}}, {"x": 2},
            {"index": {"_index": "b"}}, {"x": 3},
            {"update": {"_id": "1"}}, {"doc": {"y": 1}},
            {"delete": {"_id": "none"}},
        )  # fmt: skip
        self.assertEqual((200, True), (status, answer["errors"]))
        results = [next(iter(item.items())) for item in answer["items"]]
        self.assertEqual(
            [("index", 201), ("create", 409), ("index", 201), ("update", 200), ("delete", 404)],
            [(action, item["status"]) for action, item in results],
        )
        self.assertEqual({"x": 1, "y": 1}, self.call("GET", "/a/_source/1")[1])

    def test_a_malformed_bulk_changes_nothing(self) -> None:
        good = b'{"index":{"_id":"1"}}\n{"x":1}\n'
        for bad in (good[:-1], good + b"[]\n", good + b'{"index":{}}\n', good + b'{"delete":{}}\n', b"x\n"):
            self.assertEqual(400, self.call("POST", "/a/_bulk", bad)[0], bad)
        self.assertEqual(404, self.call("HEAD", "/a")[0])

    def test_a_search_filters_sorts_and_cuts(self) -> None:
        for number in range(10):
            self.call(
                "PUT",
                f"/a/_doc/{number}",
                {"n": number, "word": "Grey Whale" if number % 2 else "grey", "o": {"k": [number]}},
            )
        self.assertEqual(10, len(self.found({"match_all": {}})))
        self.assertEqual(["3"], self.found({"term": {"n": 3}}))
        self.assertEqual(["3"], self.found({"term": {"o.k": {"value": 3}}}))
        self.assertEqual(["1", "3", "5", "7", "9"], self.found({"match": {"word": "WHALE shark"}}))
        self.assertEqual(["7", "8", "9"], self.found({"range": {"n": {"gt": 6, "lte": 9}}}))
        self.assertEqual(
            ["8", "7"], self.found({"range": {"n": {"gt": 6}}}, sort=[{"n": {"order": "desc"}}], **{"from": 1})
        )
        both = {"bool": {"must": [{"range": {"n": {"lt": 4}}}], "must_not": {"match": {"word": "whale"}}}}
        self.assertEqual(["0", "2"], self.found(both))
        self.assertEqual(["1", "2"], self.found({"ids": {"values": ["1", "2", "x"]}}))
        self.assertEqual([], self.found({"exists": {"field": "nothing"}}))

    def test_a_search_takes_a_get_with_a_body_and_parameters(self) -> None:
        self.bulk("/_bulk", {"index": {"_index": "a"}}, {"x": 1}, {"index": {"_index": "b"}}, {"x": 1})
        status, answer = self.call("GET", "/_search?size=1", {"query": {"term": {"x": 1}}})
        self.assertEqual((200, 2, 1), (status, answer["hits"]["total"]["value"], len(answer["hits"]["hits"])))
        self.assertEqual(2, self.call("GET", "/_count")[1]["count"])

    def test_what_it_cannot_do_is_refused_with_a_reason(self) -> None:
        self.call("PUT", "/a")
        body: dict[str, Any]
        for body in (
            {"query": {"fuzzy": {}}},
            {"aggs": {}},
            {"from": -1},
            {"size": 20_000},
            {"sort": [1]},
            {"query": []},
        ):
            status, answer = self.call("POST", "/a/_search", body)
            self.assertEqual(400, status, body)
            self.assertTrue(answer["error"]["reason"])
        self.assertEqual(400, self.call("POST", "/a/_forcemerge")[0])
        self.assertEqual(405, self.call("DELETE", "/a/_search")[0])
        self.assertEqual(400, self.call("PUT", "/a/_doc/1", b"{not json")[0])
        self.assertEqual(400, self.call("PUT", "/a/_doc/1", b"[" * 100_000)[0])

    def test_mget_tells_of_those_that_are_missing_too(self) -> None:
        self.call("PUT", "/a/_doc/1", {"x": 1})
        docs = self.call("POST", "/a/_mget", {"ids": ["1", "2"]})[1]["docs"]
        self.assertEqual([True, False], [document["found"] for document in docs])
        self.assertIn("error", self.call("POST", "/_mget", {"docs": [{"_index": "no", "_id": "1"}]})[1]["docs"][0])

    def test_an_index_is_made_once_described_and_deleted(self) -> None:
        self.assertEqual(200, self.call("PUT", "/a", {"settings": {"n": 1}})[0])
        self.assertEqual(400, self.call("PUT", "/a")[0])
        self.assertEqual({"n": 1}, self.call("GET", "/a")[1]["a"]["settings"])
        self.assertIn("a ", self.call("GET", "/_cat/indices")[1])
        self.assertEqual("a", self.call("GET", "/_cat/indices?format=json")[1][0]["index"])
        self.assertEqual(200, self.call("POST", "/a/_refresh")[0])
        self.assertEqual(200, self.call("DELETE", "/a")[0])
        self.assertEqual(404, self.call("DELETE", "/a")[0])

    def test_the_dump_holds_every_document(self) -> None:
        self.call("PUT", "/a/_doc/1", {"x": 1})
        indices = self.call("GET", "/_demo/documents")[1]["indices"]
        self.assertEqual({"a": [{"_id": "1", "_version": 1, "id_generated": False, "_source": {"x": 1}}]}, indices)

    def test_both_nodes_of_a_cluster_hold_the_same(self) -> None:
        other = Rest(self.rest.store, "demo", "demo-2", ["demo-1", "demo-2"])
        self.call("PUT", "/a/_doc/1", {"x": 1})
        answer = other.handle(Request("GET", "/a/_doc/1", {}, b"", True))
        self.assertEqual((200, "demo-2"), (answer.status, answer.headers["x-demo-node"]))
        self.assertEqual(2, self.call("GET", "/_cluster/health")[1]["number_of_nodes"])


if __name__ == "__main__":
    unittest.main()
