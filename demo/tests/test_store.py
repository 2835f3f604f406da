"""The store: versions, sequence numbers, conditions, selection."""

import unittest
from collections.abc import Callable
from typing import Any

from nodes.store import Condition, Store, StoreError


class StoreTest(unittest.TestCase):
    def setUp(self) -> None:
        self.store = Store()

    def refused(self, status: int, call: Callable[..., Any], *arguments: Any) -> None:
        with self.assertRaises(StoreError) as caught:
            call(*arguments)
        self.assertEqual(status, caught.exception.status)

    def test_each_write_to_an_index_takes_the_next_sequence_number(self) -> None:
        first = self.store.put("a", "1", {"x": 1})
        second = self.store.put("a", "2", {"x": 1})
        third = self.store.delete("a", "1")
        other = self.store.put("b", "1", {"x": 1})
        self.assertEqual([0, 1, 2, 0], [w.seq_no for w in (first, second, third, other)])

    def test_a_new_document_goes_on_from_the_version_of_the_deleted_one(self) -> None:
        versions = [self.store.put("a", "1", {}).version, self.store.put("a", "1", {}).version]
        versions.append(self.store.delete("a", "1").version)
        again = self.store.put("a", "1", {})
        self.assertEqual([1, 2, 3], versions)
        self.assertEqual((4, "created"), (again.version, again.result))

    def test_a_document_without_id_gets_one_that_is_marked_as_generated(self) -> None:
        chosen = self.store.put("a", None, {"x": 1}).id
        self.store.put("a", "mine", {"x": 2})
        self.assertEqual(20, len(chosen))
        marks = {entry["_id"]: entry["id_generated"] for entry in self.store.dump()["a"]}
        self.assertEqual({chosen: True, "mine": False}, marks)

    def test_create_refuses_an_id_that_is_taken(self) -> None:
        self.store.put("a", "1", {})
        self.refused(409, self.store.put, "a", "1", {}, Condition(must_be_new=True))

    def test_a_write_with_another_sequence_number_is_refused(self) -> None:
        self.store.put("a", "1", {})
        self.store.put("a", "1", {"x": 2}, Condition(seq_no=0, primary_term=1))
        self.refused(409, self.store.put, "a", "1", {}, Condition(seq_no=0, primary_term=1))
        self.refused(409, self.store.delete, "a", "none", Condition(seq_no=0))

    def test_an_update_merges_objects_and_replaces_the_rest(self) -> None:
        self.store.put("a", "1", {"o": {"x": 1, "y": [1]}, "z": 1})
        self.store.update("a", "1", {"doc": {"o": {"y": [2]}, "z": None}})
        updated = self.store.get("a", "1")
        self.assertEqual({"o": {"x": 1, "y": [2]}, "z": None}, updated and updated.source)

    def test_an_update_that_changes_nothing_is_a_noop(self) -> None:
        before = self.store.put("a", "1", {"x": 1})
        after = self.store.update("a", "1", {"doc": {"x": 1}})
        self.assertEqual(("noop", before.seq_no), (after.result, after.seq_no))

    def test_an_update_of_nothing_needs_an_upsert(self) -> None:
        self.refused(404, self.store.update, "a", "1", {"doc": {"x": 1}})
        self.assertEqual("created", self.store.update("a", "1", {"doc": {"x": 1}, "doc_as_upsert": True}).result)

    def test_names_that_elasticsearch_refuses_are_refused(self) -> None:
        for name in ("", "_a", "-a", "A", "a b", "a,b", "..", "a" * 256):
            self.refused(400, self.store.create_index, name, {})

    def test_a_plain_name_must_exist_and_a_pattern_need_not_match(self) -> None:
        for name in ("logs-1", "logs-2", "orders"):
            self.store.create_index(name, {})
        self.assertEqual(["logs-1", "logs-2", "orders"], [i.name for i in self.store.select("logs-*,orders")])
        self.assertEqual([], self.store.select("none-*"))
        self.refused(404, self.store.select, "none")


if __name__ == "__main__":
    unittest.main()
