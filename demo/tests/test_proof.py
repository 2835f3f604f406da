"""The quickstart's proof tells a balance from an imbalance."""

import unittest
from collections import Counter
from typing import Any

from haproxy_demo import proof
from traffic_gen.clients import digest


def exchange(id: str, sent: Any = "{}", status: int = 200) -> dict[str, Any]:
    body = {"extent": "whole", "bytes": 2}
    return {
        "event": {"id": id},
        "request": {"method": "PUT", "target": "/a", "body": {**body, "content": sent}},
        "response": {"status_code": status, "body": {**body, "content": "ok"}},
    }


def document(id: str, source: Any, generated: bool = False) -> dict[str, Any]:
    return {"_id": id, "_source": source, "id_generated": generated}


class ProofTest(unittest.TestCase):
    def fails(self, checks: list[proof.Check]) -> list[str]:
        return [check.claim for check in checks if not check.holds]

    def test_what_the_clients_saw_must_be_in_the_journal_to_the_byte(self) -> None:
        seen = Counter([digest("PUT", "/a", b"{}", 200, b"ok")])
        same = proof.captured([exchange("1")])
        self.assertEqual([], self.fails(proof.check_capture(1, seen, same, 1)))
        other = proof.captured([exchange("1", sent="{ }")])
        self.assertEqual(1, len(self.fails(proof.check_capture(1, seen, other, 1))))
        self.assertEqual(3, len(self.fails(proof.check_capture(2, seen, same, 1))))

    def test_a_body_in_base64_is_its_bytes(self) -> None:
        held = proof.captured([exchange("1", sent={"base64": "/w=="})])
        self.assertEqual({"1": ("PUT", "/a", b"\xff")}, held.requests)

    def test_the_shadow_must_have_each_id_once_and_with_the_same_request(self) -> None:
        mine = proof.captured([exchange("1"), exchange("2")])
        self.assertEqual([], self.fails(proof.check_shadow(mine, proof.captured([exchange("2"), exchange("1")]), 0)))
        self.assertEqual([], self.fails(proof.check_shadow(mine, proof.captured([exchange("1")]), 1)))
        for theirs in ([exchange("1")], [exchange("1"), exchange("3")], [exchange("1"), exchange("2", sent="x")]):
            self.assertTrue(self.fails(proof.check_shadow(mine, proof.captured(theirs), 0)))
        twice = [exchange("1"), exchange("2"), exchange("2")]
        self.assertTrue(self.fails(proof.check_shadow(mine, proof.captured(twice), 0)))

    def test_a_write_without_an_id_may_have_the_primarys_and_a_read_may_not(self) -> None:
        written, pinned = ("POST", "/a/_doc", b"{}"), ("POST", "/a/_doc/x?op_type=create", b"{}")
        self.assertTrue(proof.is_same_or_pinned(written, pinned))
        self.assertFalse(proof.is_same_or_pinned(written, ("POST", "/a/_doc/x", b"{ }")))
        self.assertFalse(proof.is_same_or_pinned(written, ("POST", "/b/_doc/x", b"{}")))
        self.assertTrue(proof.is_same_or_pinned(("POST", "/_bulk", b"1"), ("POST", "/_bulk", b"2")))
        self.assertFalse(proof.is_same_or_pinned(("GET", "/a", b""), ("GET", "/a/x", b"")))

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

    def test_an_account_must_balance(self) -> None:
        account = {"read": 4, "delivered": 1, "filtered": {"x": 1}, "dropped": {"y": 1}, "in_flight": 1}
        self.assertTrue(proof.balances(account))
        self.assertFalse(proof.balances({**account, "read": 5}))


if __name__ == "__main__":
    unittest.main()
