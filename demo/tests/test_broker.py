"""The broker: where it is bound, and that it comes back after a kill."""

import os
import tempfile
import unittest
from pathlib import Path

from broker.node import INSTALLED, Broker, make_certificates
from stage.processes import accepts, free_ports


class BrokerTest(unittest.TestCase):
    def setUp(self) -> None:
        if not INSTALLED.exists():
            self.assertNotEqual("true", os.environ.get("CI"), "in CI the broker must be there: see scripts/setup")
            self.skipTest("NOT TESTED with Kafka: it is not installed; scripts/setup broker does that")
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def enterContext(self, manager):  # There since Python 3.11.
        value = manager.__enter__()
        self.addCleanup(manager.__exit__, None, None, None)
        return value

    def test_a_killed_broker_is_itself_again_on_the_same_ports(self) -> None:
        inside, secure = free_ports(2)
        make_certificates(self.folder / "certificates", "localhost", "127.0.0.1")
        (self.folder / "users").write_text("alice:secret\n")
        listeners = f"INSIDE://127.0.0.1:{inside},SECURE://127.0.0.1:{secure}"
        broker = Broker(
            f"data={self.folder / 'data'}",
            f"users={self.folder / 'users'}",
            f"certificates={self.folder / 'certificates'}",
            f"listeners={listeners}",
            "listener.security.protocol.map=INSIDE:PLAINTEXT,SECURE:SASL_SSL",
        )
        with broker:
            bound = {"INSIDE": f"127.0.0.1:{inside}", "SECURE": f"127.0.0.1:{secure}"}
            self.assertEqual(bound, broker.listeners)
            self.assertTrue(accepts(inside) and accepts(secure))
            identity = (self.folder / "data" / "meta.properties").read_text()
            broker.kill()
            self.assertFalse(accepts(inside))
            broker.start()
            self.assertTrue(accepts(inside) and accepts(secure))
            self.assertEqual(identity, (self.folder / "data" / "meta.properties").read_text())
        self.assertFalse(accepts(inside))
