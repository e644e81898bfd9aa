"""What Tools/full-tests/run has for other tests and tools: a full node and light nodes in a temporary folder."""

import importlib.machinery
import importlib.util
import pathlib
import sys

sys.dont_write_bytecode = True
_path = str(pathlib.Path(__file__).with_name("run"))
_spec = importlib.util.spec_from_loader("full_tests", importlib.machinery.SourceFileLoader("full_tests", _path))
full_tests = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(full_tests)

FULL, LIGHT, ROOT, Signer, Town = (getattr(full_tests, name) for name in ("FULL", "LIGHT", "ROOT", "Signer", "Town"))
light, wait_for = full_tests.light, full_tests.wait_for
