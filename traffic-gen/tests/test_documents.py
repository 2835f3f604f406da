"""The documents of our workload."""

import hashlib
import json
import tempfile
import unittest
from pathlib import Path

from traffic_gen import documents


class Documents(unittest.TestCase):
    def test_they_are_the_same_bytes_everywhere(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            large, small = documents.write(Path(folder))
            self.assertEqual(len(large.read_bytes().splitlines()), documents.COUNT)
            self.assertTrue(large.read_bytes().startswith(small.read_bytes()))
            digest = hashlib.sha256(large.read_bytes()).hexdigest()
        self.assertEqual(digest, "f573f31f17aafa7625fd908425887e7316650e2d7e3d31d3c304655b35573991")

    def test_the_workload_knows_how_many_there_are(self) -> None:
        text = (Path(__file__).parent.parent / "workload" / "workload.json").read_text()
        self.assertEqual(text.count(f'"document-count": {documents.COUNT},'), 2)

    def test_a_file_that_is_there_is_left_alone(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "documents.json").write_text("mine\n")
            documents.write(folder)
            self.assertEqual((folder / "documents.json").read_text(), "mine\n")
            self.assertEqual(sorted(path.name for path in folder.iterdir()), ["documents-1k.json", "documents.json"])

    def test_each_is_a_document_on_a_line(self) -> None:
        made = list(documents.documents(50))
        self.assertEqual([document["number"] for document in made], list(range(50)))
        self.assertEqual(json.loads(json.dumps(made)), made)
