"""openTSNE's own tests: the list of them, and those that apply run against our estimator."""

import ast
import os
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ET
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

HERE = Path(__file__).parent
VERSION = "1.0.4"


def _load(name):
    spec = spec_from_file_location(name, HERE / f"{name}.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


listed = _load("opentsnes_tests")


def names_in(file):
    """``class::test`` of all unittest cases in a file, and functions."""
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef):
            yield node.name
        elif isinstance(node, ast.ClassDef):
            yield from (
                f"{node.name}::{each.name}"
                for each in node.body
                if isinstance(each, ast.FunctionDef) and each.name.startswith("test_")
            )


def test_each_test_that_asks_the_same_is_there():
    ours = {
        name for folder in (HERE, HERE.parent / "kernels") for f in folder.glob("test_*.py") for name in names_in(f)
    }
    assert set(listed.ASKED_BY.values()) <= ours


def test_no_test_is_listed_twice():
    keys = [*listed.UNCHANGED, *listed.ASKED_BY, *listed.NOT_OURS]
    assert len(keys) == len(set(keys))


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """Tests of openTSNE, from its source distribution; the package itself stays the installed one."""
    folder = tmp_path_factory.mktemp("opentsne")
    download = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "openTSNE")
    subprocess.run([*download, "-d", str(folder), f"openTSNE=={VERSION}"], check=True)
    with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
        members = [each for each in archive.getmembers() if "/tests/" in each.name and each.isfile()]
        archive.extractall(folder, members, filter="data")
    return next(folder.glob("*/tests"))


@pytest.mark.full
@pytest.mark.timeout(900)
def test_all_of_their_tests_are_listed(theirs):
    keys = {*listed.UNCHANGED, *listed.ASKED_BY, *listed.NOT_OURS}
    found = {f"{file.name}::{name}" for file in theirs.glob("test_*.py") for name in names_in(file) if "test_" in name}
    known = {
        test
        for test in found
        if keys & {test, test.rsplit("::", 1)[0] + "::*", test.split("::", maxsplit=1)[0] + "::*"}
    }
    assert found - known == set()
    assert {key for key in keys if not key.endswith("*")} <= found


@pytest.mark.full
@pytest.mark.timeout(900)
def test_those_that_apply_pass_as_they_are(theirs, tmp_path):
    report = tmp_path / "report.xml"
    command = (sys.executable, "-m", "pytest", "-q", "-p", "swapped_opentsne", "-p", "no:cacheprovider")
    subprocess.run(
        [*command, f"--junitxml={report}", *(f"{theirs / test}" for test in listed.UNCHANGED)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join((str(HERE), str(theirs.parent)))},
        cwd=tmp_path,
        check=False,
        capture_output=True,
    )
    cases = list(ET.parse(report).getroot().iter("testcase"))
    bad = [case.get("name") for case in cases if any(case.find(kind) is not None for kind in ("failure", "error"))]
    assert bad == []
    assert len(cases) == len(listed.UNCHANGED)
