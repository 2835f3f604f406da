"""The quickstart's proof tells a balance from an imbalance."""

import json
import unittest
from collections import Counter
from typing import Any

from haproxy_demo import proof
from spoa_agent import Exchange
from traffic_gen.clients import digest


def exchange(id: str, sent: Any = "{}", status: int = 200, target: str = "/a/_bulk") -> Exchange:
    """As a line of the traffic log."""
    time = "2026-01-01T00:00:00.000000Z"
    length = 1 if isinstance(sent, dict) else len(sent)
    line = {
        "@timestamp": time,
        "event": {"kind": "exchange", "id": id, "position": 0, "duration_us": 1000},
        "request": {
            "time": time,
            "frontend": "primary",
            "version": "1.1",
            "method": "PUT",
            "target": target,
            "headers": [],
            "body": {"extent": "whole", "bytes": length, "content": sent},
        },
        "response": {
            "time": time,
            "backend": "cluster",
            "server": "node",
            "status_code": status,
            "version": "1.1",
            "headers": [],
            "body": {"extent": "whole", "bytes": 2, "content": "ok"},
        },
    }
    return Exchange.from_json(json.dumps(line))


def document(id: str, source: Any, generated: bool = False) -> dict[str, Any]:
    return {"_id": id, "_source": source, "id_generated": generated}


class ProofTest(unittest.TestCase):
    def fails(self, checks: list[proof.Check]) -> list[str]:
        return [check.claim for check in checks if not check.holds]

    def test_what_the_clients_saw_must_be_in_the_journal_to_the_byte(self) -> None:
        seen = Counter([digest("PUT", "/a/_bulk", b"{}", 200, b"ok")])
        same = proof.captured([exchange("1")])
        self.assertEqual([], self.fails(proof.check_capture(1, seen, same, same)))
        other = proof.captured([exchange("1", sent="{ }")])
        self.assertEqual(1, len(self.fails(proof.check_capture(1, seen, other, other))))
        self.assertEqual(3, len(self.fails(proof.check_capture(2, seen, same, same))))

    def test_without_a_memory_of_the_clients_the_count_must_be_right_all_the_same(self) -> None:
        held = proof.captured([exchange("1")])
        self.assertEqual([], self.fails(proof.check_capture(1, None, held, held)))
        self.assertEqual(2, len(self.fails(proof.check_capture(2, None, held, held))))

    def test_the_traffic_log_must_have_what_the_journal_has(self) -> None:
        held = proof.captured([exchange("1")])
        for lines in ([exchange("1", status=201)], [exchange("1", sent="")], []):
            self.assertTrue(self.fails(proof.check_capture(1, None, held, proof.captured(lines))))

    def test_traffic_without_a_bulk_body_proves_nothing_about_bulks(self) -> None:
        held = proof.captured([exchange("1", target="/a")])
        self.assertEqual(1, len(self.fails(proof.check_capture(1, None, held, held))))

    def test_every_exchange_must_be_in_the_topic_at_least_once(self) -> None:
        held = proof.captured([exchange("1"), exchange("2")])
        for ids, fails in (({"1": 1, "2": 1}, 0), ({"1": 3, "2": 1}, 0), ({"1": 2}, 1), ({"1": 1, "2": 1, "3": 1}, 1)):
            with self.subTest(ids):
                self.assertEqual(fails, len(self.fails(proof.check_topic(held, Counter(ids)))))

    def test_a_body_in_base64_is_its_bytes(self) -> None:
        held = proof.captured([exchange("1", sent={"base64": "/w=="})])
        self.assertEqual({"1": ("PUT", "/a/_bulk", b"\xff")}, held.requests)

    def test_the_shadow_must_have_each_id_once_and_with_the_same_request(self) -> None:
        one, two, three = (exchange(id, target="/a") for id in "123")
        mine = proof.captured([one, two])
        self.assertEqual([], self.fails(proof.check_shadow(mine, proof.captured([two, one]), 0)))
        self.assertEqual([], self.fails(proof.check_shadow(mine, proof.captured([one]), 1)))
        for theirs in ([one], [one, three], [one, exchange("2", sent="x", target="/a")], [one, two, two]):
            self.assertTrue(self.fails(proof.check_shadow(mine, proof.captured(theirs), 0)))

    def test_a_write_without_an_id_may_have_the_primarys_and_a_read_may_not(self) -> None:
        written, pinned = ("POST", "/a/_doc", b"{}"), ("POST", "/a/_doc/x?op_type=create", b"{}")
        self.assertTrue(proof.is_same_or_pinned(written, pinned))
        self.assertFalse(proof.is_same_or_pinned(written, ("POST", "/a/_doc/x", b"{ }")))
        self.assertFalse(proof.is_same_or_pinned(written, ("POST", "/b/_doc/x", b"{}")))
        self.assertTrue(proof.is_same_or_pinned(("POST", "/_bulk", b"1"), ("POST", "/_bulk", b"2")))
        self.assertFalse(proof.is_same_or_pinned(("GET", "/a", b""), ("GET", "/a/x", b"")))

    def test_a_scroll_goes_on_under_the_id_of_the_shadow(self) -> None:
        self.assertTrue(proof.is_same_or_pinned(("GET", "/_search/scroll", b"1"), ("GET", "/_search/scroll", b"2")))
        self.assertFalse(proof.is_same_or_pinned(("GET", "/_search/scroll", b"1"), ("GET", "/a/_search", b"2")))

    def test_documents_are_compared_by_id_and_content(self) -> None:
        primary = {"a": [document("1", {"x": 1}), document("g1", {"x": 2}, True)]}
        same = {"a": [document("g1", {"x": 2}), document("1", {"x": 1})]}
        self.assertEqual([], self.fails(proof.check_documents(primary, same)))
        for differs in (
            {"a": [document("1", {"x": 1}), document("g2", {"x": 2}, True)]},
            {"a": [document("1", {"x": 1}), document("g1", {"x": 3}, True)]},
            {"a": [document("1", {"x": 1})]},
            {"a": primary["a"] + [document("g3", {"x": 2}, True)]},
            {},
        ):
            self.assertTrue(self.fails(proof.check_documents(primary, differs)), differs)

    def test_what_came_again_under_its_id_is_known_and_more_than_that_is_not(self) -> None:
        follower = {
            "exchanges": {"read": 3, "delivered": 3, "filtered": {}, "dropped": {}, "in_flight": 0},
            "records": {"duplicates": 4},
            "balanced": True,
        }
        for captured, fails in ((5, 0), (6, 2), (3, 2)):
            halves = {half: {"captured": captured} for half in ("requests", "responses")}
            checks = proof.check_ledger(3, {"capture": halves, "followers": {"traffic_log": follower}}, "shadow")
            self.assertEqual(fails, len(self.fails(checks)))

    def test_an_account_must_balance(self) -> None:
        account = {"read": 4, "delivered": 1, "filtered": {"x": 1}, "dropped": {"y": 1}, "in_flight": 1}
        self.assertTrue(proof.balances(account))
        self.assertFalse(proof.balances({**account, "read": 5}))


if __name__ == "__main__":
    unittest.main()
