"""A run folder and a browser for the tests of the report."""

from __future__ import annotations

import shutil

import pytest

from tests.report.runs import write_run

CHROMIUM = shutil.which("chromium")
FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-background-networking"]


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory):
    """A full run: images, labels and every optional file."""
    return write_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def browser():
    """Debian's Chromium, without a screen, with WebGL in software; what a module leaves open goes on drawing."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium)")
    sync_api = pytest.importorskip("playwright.sync_api", reason="the Python package playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()
