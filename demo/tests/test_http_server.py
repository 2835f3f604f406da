"""HTTP/1.1 over a socket: framing, keep-alive, refusals."""

import socket
import threading
import unittest

from nodes.http_server import Request, Response, Server


def echo(request: Request) -> Response:
    return Response(200, f"{request.method} {request.target} ".encode() + request.body, "text/plain")


class ServerTest(unittest.TestCase):
    def setUp(self) -> None:
        self.server = Server(("127.0.0.1", 0), echo)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)

    def exchange(self, sent: bytes) -> bytes:
        """Everything that comes back until the server ends the connection."""
        with socket.create_connection(("127.0.0.1", self.server.port), 10) as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            received = b""
            while True:
                piece = connection.recv(65536)
                if not piece:
                    return received
                received += piece

    def test_several_requests_go_over_one_connection_in_order(self) -> None:
        received = self.exchange(b"POST /1 HTTP/1.1\r\ncontent-length: 2\r\n\r\nab" + b"GET /2 HTTP/1.1\r\n\r\n")
        self.assertEqual(2, received.count(b"HTTP/1.1 200 OK"))
        self.assertLess(received.index(b"POST /1 ab"), received.index(b"GET /2 "))

    def test_chunks_with_extensions_and_trailers_make_one_body(self) -> None:
        body = b"3;x=y\r\nabc\r\n1\r\nd\r\n0\r\nt: 1\r\n\r\n"
        received = self.exchange(b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
        self.assertTrue(received.endswith(b"PUT / abcd"), received)

    def test_an_answer_to_head_has_the_length_and_no_body(self) -> None:
        received = self.exchange(b"HEAD /x HTTP/1.1\r\n\r\n")
        self.assertIn(b"content-length: 8\r\n", received)
        self.assertTrue(received.endswith(b"\r\n\r\n"), received)

    def test_a_client_that_asks_to_close_or_speaks_1_0_gets_the_end(self) -> None:
        for first in (b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n"):
            received = self.exchange(first + b"GET /never HTTP/1.1\r\n\r\n")
            self.assertIn(b"connection: close", received)
            self.assertNotIn(b"never", received)

    def test_a_client_that_waits_for_100_continue_gets_it(self) -> None:
        received = self.exchange(b"PUT / HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 1\r\n\r\nx")
        self.assertTrue(received.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK"), received)

    def test_bytes_that_are_no_request_are_refused_and_end_the_connection(self) -> None:
        head = b"POST / HTTP/1.1\r\n"
        for sent, status in (
            (b"\x16\x03\x01 hello\r\n\r\n", 400),
            (b"GET / HTTP/2.0\r\n\r\n", 400),
            (head + b"no colon\r\n\r\n", 400),
            (head + b"content-length: x\r\n\r\n", 400),
            (head + b"content-length: -1\r\n\r\n", 400),
            (head + b"content-length: 5\r\n\r\nab", 400),
            (head + b"content-length: 99999999999\r\n\r\n", 413),
            (head + b"content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
            (head + b"transfer-encoding: chunked\r\n\r\nzz\r\n", 400),
            (head + b"transfer-encoding: chunked\r\n\r\n-1\r\n", 400),
            (head + b"x: " + b"y" * 200_000 + b"\r\n\r\n", 431),
            (head + b"x: y\r\n" * 300 + b"\r\n", 431),
        ):
            received = self.exchange(sent)
            self.assertTrue(received.startswith(b"HTTP/1.1 %d " % status), (sent[:60], received))


if __name__ == "__main__":
    unittest.main()
