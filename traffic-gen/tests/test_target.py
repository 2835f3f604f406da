"""Targets as people write them."""

import unittest

from traffic_gen.target import Target, TargetError, read_target


class Targets(unittest.TestCase):
    def test_what_is_meant(self) -> None:
        for text, address, tls in (
            ("localhost:9200", "localhost:9200", False),
            ("search", "search:80", False),
            ("http://search", "search:80", False),
            ("https://search", "search:443", True),
            ("https://search:9200/", "search:9200", True),
            ("[::1]:9200", "[::1]:9200", False),
        ):
            with self.subTest(text):
                target = read_target(text)
                self.assertEqual((target.address, target.tls), (address, tls))

    def test_what_cannot_be_meant(self) -> None:
        for text in (
            "",
            ":80",
            "ftp://search",
            "search:many",
            "search:99999",
            "http://search/path",
            "http://u:p@search",
            "[::1",
        ):
            with self.subTest(text), self.assertRaises(TargetError):
                read_target(text)

    def test_a_password_is_not_told(self) -> None:
        self.assertNotIn("secret", repr(Target("search", 80, user="u", password="secret")))
