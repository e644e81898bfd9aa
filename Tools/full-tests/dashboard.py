"""The dashboard in a real Chromium beside a real town. Screenshots stay in out/dashboard.

The accessibility rules are those of axe-core, which is fetched from PyPI once."""

import concurrent.futures
import contextlib
import json
import math
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import unittest
import zipfile

from browser import Browser
from town import FULL, ROOT, Signer, Town, wait_for

PICTURES = ROOT / "out/dashboard"
AXE = "axe-playwright-python==0.1.8"
LIGHTS = 8
EDGES = LIGHTS * (LIGHTS + 1) // 2
# Five of them tell points, two the same one; one tells a name.
PLACES = ("37.39,136.90 Wajima", "37.39,136.90 Wajima", "geo:37.44,137.26 珠洲", "37.04,136.97 Nanao", "36.56,136.66 Kanazawa",
          "somewhere in Toyama")
OWN_PLACE = ("--set", "place=37.16,136.70 Shika")


def axe():
    """The source of axe-core."""
    cache = ROOT / "out/cache/axe"
    if not list(cache.glob("*.whl")):
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", cache, AXE], check=True)
    with zipfile.ZipFile(next(cache.glob("*.whl"))) as wheel:
        return wheel.read(next(name for name in wheel.namelist() if name.endswith("axe.min.js"))).decode()


class Load:
    """Some transactions a second, as long as this lasts."""

    def __init__(self, town, rate=60):
        self.town, self.rate, self.signer, self.ends = town, rate, Signer(), threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        connection = self.town.connect()
        while not self.ends.wait(0.25):
            batch = b"".join(self.signer.record(256)[1] for _ in range(self.rate // 4))
            self.town.ask("POST", "/v1/transactions:batch", batch, "application/octet-stream", connection)
        connection.close()

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *_):
        self.ends.set()
        self.thread.join()


class Dashboard(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.context = contextlib.ExitStack()
        cls.town = cls.context.enter_context(Town(LIGHTS, *OWN_PLACE, places=PLACES))
        cls.browser = cls.context.enter_context(Browser())
        cls.address = f"http://127.0.0.1:{cls.town.http}/"

    @classmethod
    def tearDownClass(cls):
        cls.context.close()

    def show(self, width=1280, height=1000, scheme="light", phone=False):
        self.browser.look(width, height, scheme, phone)
        self.browser.open(self.address)
        wait_for("the mesh", lambda: self.browser.count(".member") == LIGHTS + 1)

    def tearDown(self):
        self.assertEqual([line for line in self.browser.complaints() if self.expected not in line], [])

    expected = "no complaint is expected"

    def test_shows_every_node_and_nothing_from_elsewhere(self):
        self.show()
        self.assertEqual(self.browser.count("#rows tr"), LIGHTS + 1)
        told = self.town.ask("GET", "/v1/nodes")[1]["nodes"]
        names = set(self.browser.run("return [...document.querySelectorAll('#rows code')].map(code => code.title)"))
        self.assertEqual(names, {node["id"] for node in told})
        self.assertEqual(self.browser.text("#alive"), f"{LIGHTS + 1} of {LIGHTS + 1}")
        # Everybody hears everybody, and says so.
        wait_for("who hears whom", lambda: self.browser.count("#mesh .edge:not(.oneway)") == EDGES, 40)
        self.assertEqual(self.browser.count("#mesh .edge"), EDGES)
        wait_for("their word for it", lambda: self.browser.run(
            "return [...document.querySelectorAll('#rows tr')].map(row => row.cells[5].innerText)") == [str(LIGHTS)] * (LIGHTS + 1), 40)
        self.assertEqual(self.browser.text("#status"), "live")
        loaded = self.browser.run("return performance.getEntriesByType('resource').map(entry => entry.name)")
        self.assertGreaterEqual(len(loaded), 4)
        self.assertEqual([name for name in loaded if not name.startswith(self.address)], [])

    def test_policy_and_files(self):
        for path in ("/", "/dashboard.js", "/dashboard.css", "/icon.svg"):
            connection = self.town.connect()
            connection.request("GET", path)
            answer = connection.getresponse()
            text = answer.read().decode()
            connection.close()
            policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
            self.assertEqual((policy["default-src"], policy["script-src"], policy["style-src"]), ("'none'", "'self'", "'self'"))
            self.assertNotIn("unsafe", answer.headers["Content-Security-Policy"])
            self.assertEqual(answer.headers["X-Content-Type-Options"], "nosniff")
            if path == "/":
                self.assertEqual(re.findall(r"<script(?![^>]*src=)|<style| on\w+=| style=", text), [])
        self.show()
        ran = self.browser.run("""
          const script = document.createElement('script');
          script.textContent = 'window.ran = true';
          document.body.append(script);
          return window.ran === true""")
        self.assertFalse(ran)
        self.browser.complaints()

    def test_tells_what_happens(self):
        self.show()
        with Load(self.town):
            wait_for("a rate", lambda: int(self.browser.text("#rate").replace(",", "")) >= 20)
            wait_for("lights that fly", lambda: self.browser.count(".pulse") > 0)
            wait_for("shards", lambda: self.browser.run(
                "return [...document.querySelectorAll('#rows tr')].filter(row => Number(row.cells[3].innerText.replace(',', '')) > 3).length") >= 4)
        wait_for("all durable", lambda: self.browser.text("#durable").startswith("100"))

    def test_keyboard_chooses_a_node(self):
        self.show()
        self.browser.run("document.querySelector('.member[aria-label*=light]').focus()")
        self.browser.type("\ue007")
        self.assertEqual(self.browser.count("tr.chosen"), 1)
        self.assertEqual(self.browser.count(".member[aria-pressed=true]"), 1)
        self.browser.type(" ")
        self.assertEqual(self.browser.count("tr.chosen"), 0)

    def test_map_is_true_to_scale(self):
        """The oracle: great circles between the points on a sphere (haversine), measured with the drawn scale bar."""
        self.show()
        wait_for("the map", lambda: self.browser.count("#map .site") == 6)
        self.assertFalse(self.browser.run("return document.getElementById('map-panel').hidden"))
        drawn = self.browser.run("""
          const bar = document.querySelector('#map .scale').getBBox();
          const text = document.querySelector('#map .scale + .name').textContent;
          const sites = [...document.querySelectorAll('#map .site')].map(site =>
            [site.ariaLabel, Number(site.getAttribute('cx')), Number(site.getAttribute('cy'))]);
          return [bar.width, text, sites]""")
        length, unit = drawn[1].split()
        self.assertEqual(unit, "km")
        per_km = drawn[0] / float(length.replace(",", ""))
        sites = {name: (x, y) for label, x, y in drawn[2] for name in ("珠洲", "Nanao", "Kanazawa", "Shika") if name in label}
        self.assertEqual(len(sites), 4)
        points = {"珠洲": (37.44, 137.26), "Nanao": (37.04, 136.97), "Kanazawa": (36.56, 136.66), "Shika": (37.16, 136.70)}
        for one, other in (("珠洲", "Kanazawa"), ("Nanao", "Shika"), ("Kanazawa", "Shika")):
            (a, b), (c, d) = ([math.radians(value) for value in points[name]] for name in (one, other))
            half = math.sin((c - a) / 2) ** 2 + math.cos(a) * math.cos(c) * math.sin((d - b) / 2) ** 2
            km = 2 * 6_371 * math.asin(math.sqrt(half))
            self.assertAlmostEqual(math.dist(sites[one], sites[other]) / per_km / km, 1, delta=0.02, msg=(one, other))
        self.assertLess(sites["珠洲"][1], sites["Nanao"][1], "north is up")
        self.assertGreater(sites["珠洲"][0], sites["Kanazawa"][0], "east is right")
        names = self.browser.run("return [...document.querySelectorAll('#map .name')].map(name => name.textContent)")
        self.assertIn("Wajima (2)", names)
        others = self.browser.run("return [...document.querySelectorAll('#unplaced li')].map(item => item.innerText)")
        self.assertEqual((len(others), sum("somewhere in Toyama" in text for text in others)), (3, 1))
        inside = self.browser.run("""
          const box = document.getElementById('map').getBoundingClientRect();
          return [...document.querySelectorAll('#map .site')].every(site => {
            const at = site.getBoundingClientRect();
            return at.left >= box.left && at.right <= box.right && at.top >= box.top && at.bottom <= box.bottom; })""")
        self.assertTrue(inside)

    def test_map_by_keyboard(self):
        self.show()
        wait_for("the map", lambda: self.browser.count("#map .site") == 6)
        self.browser.run("document.querySelector('#map .site[aria-label*=Nanao]').focus()")
        self.browser.type(" ")
        self.assertEqual(self.browser.count("tr.chosen"), 1)
        # It is drawn anew each second, and the focus stays.
        time.sleep(2.5)
        self.assertEqual(self.browser.run("return document.activeElement.getAttribute('aria-pressed')"), "true")
        self.browser.type("\ue007")
        self.assertEqual(self.browser.count("tr.chosen") + self.browser.count("#map .chosen"), 0)

    def test_rules_of_accessibility(self):
        source = axe()
        for scheme in ("light", "dark"):
            for width, phone in ((1280, False), (390, True)):
                self.show(width=width, scheme=scheme, phone=phone)
                self.browser.run(source)
                found = self.browser.run_async(
                    "axe.run(document).then(found => arguments[0](found.violations.map("
                    "rule => [rule.id, rule.nodes.map(node => node.html.slice(0, 120) + ' ' + node.failureSummary)])))")
                self.assertEqual(found, [], (scheme, width))

    def test_fits_on_a_phone(self):
        for width in (320, 390, 820):
            self.show(width=width, height=844, phone=True)
            # A phone widens its window to what does not fit: the window's own width says nothing.
            self.assertLessEqual(self.browser.run("return document.scrollingElement.scrollWidth"), width)

    def test_a_new_start_is_survived(self):
        self.expected = "ERR_"
        self.show()
        self.town.full.send_signal(signal.SIGTERM)
        # The page's connection does not keep the node from ending.
        self.town.full.wait(10)
        wait_for("notice", lambda: self.browser.text("#status") == "the node does not answer")
        self.town.start(*OWN_PLACE)
        wait_for("live again", lambda: self.browser.text("#status") == "live")
        wait_for("members", lambda: self.browser.text("#alive") == f"{LIGHTS + 1} of {LIGHTS + 1}")


class Pictures(unittest.TestCase):
    """A town at work in which two nodes die and a card is nearly worn, as a person sees it: look at out/dashboard after a
    change."""

    def test_pictures(self):
        with Town(LIGHTS, *OWN_PLACE, places=PLACES) as town, Browser() as browser:
            browser.look(1280, 1000)
            browser.open(f"http://127.0.0.1:{town.http}/")
            town.start_on_small_card(3)
            signer, worn = Signer(), town.light_key(3)[7:13]
            with Load(town, 240):
                time.sleep(15)
                end = time.monotonic() + 120
                while not browser.run("return [...document.querySelectorAll('#rows tr')].some(row => "
                                      "row.innerText.includes('card nearly worn'))"):
                    self.assertLess(time.monotonic(), end, "the card does not wear out")
                    batch = b"".join(signer.record(15_000)[1] for _ in range(40))
                    town.ask("POST", "/v1/transactions:batch", batch, "application/octet-stream")
                    time.sleep(0.2)
                self.assertEqual(browser.count(f"#mesh .member.weak[aria-label*={worn}]"), 1)
                self.assertEqual(browser.count(f"#map .site.weak[aria-label*={worn}]"), 1)
                self.assertIn(f"{worn}: card nearly worn", browser.text("#feed"))
                for process in town.lights[:2]:
                    process.kill()
                wait_for("their deaths", lambda: browser.count("#mesh .member.failed") == 2, 40)
                wait_for("nobody to hear them", lambda: browser.count("#mesh .edge:not(.failed)") == (LIGHTS - 1) * (LIGHTS - 2) // 2, 60)
                wait_for("words", lambda: browser.text("#feed").count("does not answer") == 2)
                for name, width, height, scheme, phone in (
                        ("desktop-light", 1280, 1000, "light", False), ("desktop-dark", 1280, 1000, "dark", False),
                        ("phone-light", 390, 844, "light", True), ("phone-dark", 390, 844, "dark", True)):
                    browser.look(width, height, scheme, phone)
                    time.sleep(2)
                    browser.picture(PICTURES / f"{name}.png")
            self.assertEqual(browser.complaints(), [])


class Token(unittest.TestCase):
    def test_asks_for_a_token_and_keeps_it_in_the_tab(self):
        with Town(1) as town, Browser() as browser:
            made = subprocess.run([FULL, "token", "add", "watcher", "--scope", "read", "--home", town.home], capture_output=True,
                                  check=True).stdout.decode().strip()
            town.full.send_signal(signal.SIGTERM)
            town.full.wait(20)
            town.start()
            browser.look(1280, 1000)
            browser.open(f"http://127.0.0.1:{town.http}/")
            wait_for("the question", lambda: browser.run("return document.querySelector('dialog').open"))
            self.assertEqual(browser.run("return document.activeElement.id"), "token-field")
            browser.type(list(made[:-1] + "\ue007"))
            wait_for("refusal", lambda: "does not take" in browser.text("#token-error"))
            browser.picture(PICTURES / "token.png")
            browser.type(list(made + "\ue007"))
            wait_for("members", lambda: browser.count(".member") == 2)
            self.assertTrue(browser.run("return document.getElementById('map-panel').hidden"))
            self.assertEqual(browser.run("return [sessionStorage.length, localStorage.length, location.search, document.cookie]"),
                             [1, 0, "", ""])
