"""The drill's judgement can fail, and its load does not wait for answers."""

from __future__ import annotations

import asyncio
import unittest
from collections import Counter
from typing import Any

from drill.judge import judge
from drill.load import run
from drill.outcome import Phase, Seen, row

SECONDS_SILENT = 0.5


def seen(number: int, said: str | None = None, status: int = 200) -> Seen:
    return Seen.read(f"{number}.0\t0.002\t{status}\t{said if said is not None else f'id-{number},3,,2,'}\n")


def ledger(delivered: int, **changes: Any) -> dict[str, Any]:
    exchanges = {"read": delivered, "delivered": delivered, "filtered": {}, "dropped": {}, "in_flight": 0, **changes}
    return {"followers": {"kafka": {"exchanges": exchanges, "balanced": True}}}


class OutcomeTest(unittest.TestCase):
    def test_only_a_time_without_an_error_is_an_ack(self) -> None:
        for said, expected in {
            "id,3,,0,": (True, True),
            "id,3,,,": (True, False),
            "id,,,,": (False, False),
            "id,-1,259,2,": (False, True),
            "id,4,3,,": (False, False),
        }.items():
            one = seen(1, said)
            self.assertEqual((one.id, one.request, one.response), ("id", *expected), said)

    def test_a_request_without_an_answer_has_no_id(self) -> None:
        one = seen(1, "the connection ended: a, b", status=0)
        self.assertEqual((one.id, one.is_well, one.request), ("", False, False))

    def test_a_row_counts_what_was_due_in_its_phase(self) -> None:
        phase = Phase("away", 2.0, 4.0)
        chosen = filter(phase.has, [seen(1), seen(2), seen(3, "x", 0), seen(4)])
        name, requests, errors, *_, without = row(phase.name, chosen)
        self.assertEqual((name, requests, errors, without), ("away", 2, 1, 1))


class JudgeTest(unittest.TestCase):
    def wrong(self, all: list[Seen], topic: dict[str, int], account: dict[str, Any], counted: int = 3) -> list[str]:
        return [check.claim for check in judge(all, Counter(topic), account, counted) if not check.holds]

    def test_what_is_all_there_holds(self) -> None:
        all = [seen(1), seen(2), seen(3, "id-3,,,,")]
        self.assertEqual(self.wrong(all, {"id-1": 1, "id-2": 1}, ledger(2)), [])

    def test_one_that_was_acknowledged_and_is_missing_is_found(self) -> None:
        wrong = self.wrong([seen(1), seen(2), seen(3)], {"id-1": 1, "id-2": 1}, ledger(2))
        self.assertEqual(wrong, ["every exchange that the journal acknowledged is in the topic"])

    def test_repeats_strangers_errors_and_drops_are_found(self) -> None:
        all = [seen(1), seen(2), seen(3, "", status=503)]
        wrong = self.wrong(
            all, {"id-1": 2, "id-2": 1, "other": 1}, ledger(2, dropped={"refused": 1}, read=4), counted=4
        )
        self.assertEqual(len(wrong), 7, wrong)


async def heard(reader: asyncio.StreamReader) -> bytes:
    """A request, or nothing at the end."""
    try:
        return await reader.read(1 << 20)
    except (asyncio.CancelledError, ConnectionError):
        return b""


class LoadTest(unittest.IsolatedAsyncioTestCase):
    async def test_a_server_that_is_silent_for_a_while_is_sent_to_all_the_same(self) -> None:
        arrived: list[float] = []
        loop = asyncio.get_running_loop()
        began = loop.time()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while head := await heard(reader):
                arrived.append(loop.time())
                self.assertIn(b" HTTP/1.1\r\n", head)
                await asyncio.sleep(max(0.0, began + SECONDS_SILENT - loop.time()))
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-drill: id,1,,1,\r\n\r\n{}")
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        requests, connections = await run(port, 40, lambda: loop.time() > began + 1)
        server.close()
        self.assertTrue(requests and all(one.status == 200 for one in requests))
        early = [one for one in requests if one.due < began + SECONDS_SILENT / 2]
        # Each waited on a connection of its own, and its time counts from when it was due.
        self.assertTrue(all(one.seconds > SECONDS_SILENT / 2 - 0.05 for one in early))
        self.assertGreaterEqual(connections, len(early))
        self.assertGreaterEqual(len(arrived), len(requests))

    async def test_a_server_that_is_not_there_is_an_error_of_each_request(self) -> None:
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        rounds = iter(range(6))
        requests, _ = await run(port, 100, lambda: next(rounds) == 5)
        self.assertEqual([one.status for one in requests], [0] * 5)
        self.assertTrue(all("cannot connect" in one.said for one in requests))


if __name__ == "__main__":
    unittest.main()
