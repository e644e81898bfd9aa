"""HotaruClient as an app has it: a package of its own, outside this one."""

import json
import os
import pathlib
import re
import subprocess
import tempfile
import time
import unittest

from apps import start
from town import ROOT, Town, light


class Outside(unittest.TestCase):
    def test_an_app_of_its_own(self):
        """Builds what the README says in a folder that has nothing else; some minutes."""
        readme = (ROOT / "README.md").read_text()
        blocks = re.findall(r"```swift\n(.*?)\n```", readme, re.DOTALL)
        example = next(block for block in blocks if "import HotaruClient" in block)
        members = next(block for block in blocks if block.startswith("dependencies:"))
        environment = os.environ | dict([re.search(r"`(HOTARU_\w+)=(1) swift build`", readme).groups()])
        environment.pop("HOTARU_FULL", None)
        with tempfile.TemporaryDirectory(prefix="hotaru-outside-") as folder:
            app = pathlib.Path(folder) / "app"
            (app / "Sources/app").mkdir(parents=True)
            (app / "Sources/app/main.swift").write_text(example + "\n")
            # As if the checkout lay beside the app.
            members = members.replace('"../hotaru"', json.dumps(str(ROOT)))
            (app / "Package.swift").write_text(
                f'// swift-tools-version: 6.2\nimport PackageDescription\nlet package = Package(name: "app", {members})\n')
            done = subprocess.run(["swift", "build", "-j", "2"], cwd=app, env=environment, capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stdout[-6_000:] + done.stderr[-2_000:])
            fetched = {path.name for path in (app / ".build/checkouts").iterdir()}
            self.assertIn("async-http-client", fetched)
            self.assertEqual({name for name in fetched if re.match("hummingbird|GRDB|grpc|swift-(protobuf|argument)", name)}, set())
            with Town(4) as town:
                process = start("stdbuf", "-oL", app / ".build/debug/app", f"http://127.0.0.1:{town.http}", town.path / "key")
                try:
                    self.assertRegex(process.stdout.readline(), r"^[34] nodes hold it\n$")
                    time.sleep(1)
                    own = light("key", "show", "--home", town.path / "key").split()[-1]
                    signed = json.loads(light("sign", "--home", town.app, "--to", own, "--amount", 5))
                    town.post(signed)
                    self.assertEqual(json.loads(process.stdout.readline())["id"], signed["id"])
                finally:
                    process.kill()
                    process.communicate()
