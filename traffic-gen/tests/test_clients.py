"""The clients of our own."""

import unittest
from dataclasses import replace

from traffic_gen import clients
from traffic_gen.clients import Limits

from .cluster import Cluster


class Clients(unittest.TestCase):
    def test_exactly_the_requests_that_were_asked_for_are_sent_and_counted(self) -> None:
        with Cluster() as cluster:
            tally = clients.send(cluster.target, Limits(requests=101), 3, lambda _: None)
            self.assertEqual((tally.sent, len(cluster.requests), sum(tally.kinds.values())), (101, 101, 101))
            self.assertEqual(tally.errors, [])

    def test_a_digest_is_that_of_what_went_over_the_wire(self) -> None:
        with Cluster() as cluster:
            tally = clients.send(cluster.target, Limits(requests=40), 1, lambda _: None)
            expected = [
                clients.digest(method, path, body, 200, b"" if method == "HEAD" else b"{}")
                for method, path, _, body in cluster.requests
            ]
        self.assertEqual(sorted(tally.digests.elements()), sorted(expected))

    def test_the_user_goes_with_every_request(self) -> None:
        with Cluster() as cluster:
            clients.send(replace(cluster.target, user="u", password="p"), Limits(requests=20), 2, lambda _: None)
            self.assertEqual({request[2].get("authorization") for request in cluster.requests}, {"Basic dTpw"})

    def test_the_clients_end_when_their_time_is_over(self) -> None:
        with Cluster() as cluster:
            tally = clients.send(cluster.target, Limits(seconds=0.3), 2, lambda _: None)
        self.assertGreater(tally.sent, 0)

    def test_no_more_is_sent_than_the_throughput_allows(self) -> None:
        with Cluster() as cluster:
            tally = clients.send(cluster.target, Limits(seconds=0.5, throughput=20), 4, lambda _: None)
        # Places are due at 0, 50, .. 450 ms: at most ten of them, however slow the machine is.
        self.assertLessEqual(tally.sent, 10)
        self.assertGreater(tally.sent, 0)

    def test_a_cluster_that_is_gone_is_told_as_an_error_of_each_connection(self) -> None:
        with Cluster() as cluster:
            target = cluster.target
        tally = clients.send(target, Limits(requests=5), 2, lambda _: None)
        self.assertEqual((tally.sent, len(tally.errors)), (0, 2))
