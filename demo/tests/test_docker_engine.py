"""An engine of our own ends nothing that it did not start, and says what it lacks."""

from __future__ import annotations

import os
import subprocess
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from docker.containers import DockerError, wait_until
from docker.engine import capable_client, start, stop

CLIENT = """\
#!/bin/sh
case $1 in
    buildx) exit ${BUILDX:-0} ;;
    --version) echo "Docker version ${VERSION:-28.2.2}, build 0" ;;
    version) exit 1 ;;
esac
"""


class EngineTest(unittest.TestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)
        self.client = self.folder / "docker"
        self.client.write_text(CLIENT)
        self.client.chmod(0o755)

    def environment(self, **more: str) -> None:
        patch = mock.patch.dict(os.environ, {"PATH": f"{self.folder}:/bin", **more})
        patch.start()
        self.addCleanup(patch.stop)

    def test_a_number_that_belongs_to_another_program_is_not_ended(self) -> None:
        with subprocess.Popen(["/bin/sleep", "60"]) as other:
            (self.folder / "dockerd.pid").write_text(str(other.pid))
            stop(self.folder)
            self.assertIsNone(other.poll())
            other.kill()

    def test_a_client_that_cannot_build_is_refused_with_the_way_out(self) -> None:
        self.environment(BUILDX="1")
        with (
            self.assertRaisesRegex(DockerError, "scripts/setup docker"),
            mock.patch("docker.engine.clients", lambda: [str(self.client)]),
        ):
            capable_client()
        self.environment(BUILDX="1", VERSION="20.10.24")
        self.assertEqual(str(self.client), capable_client())

    def test_a_folder_too_deep_for_sockets_is_refused_before_anything_starts(self) -> None:
        self.environment()
        with self.assertRaisesRegex(DockerError, "too long a path"):
            start(self.folder / ("x" * 80))

    def test_a_condition_that_never_holds_is_told_with_its_last_fault(self) -> None:
        def refused() -> bool:
            raise ConnectionRefusedError("nobody is there")

        with self.assertRaisesRegex(DockerError, r"in vain until it answers \(nobody is there\)"):
            wait_until(refused, "it answers", seconds=0)
