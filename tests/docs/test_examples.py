"""The examples run on a few rows of the real data, and do what they say."""

from __future__ import annotations

import importlib.util

import pytest

from fastclust.cli.demo import server
from tests.docs.blocks import DOCS

EXAMPLES = {path.stem: path for path in sorted((DOCS / "examples").glob("*.py"))}


def load(name):
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES[name])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_each_example_is_shown_and_run_here():
    assert sorted(EXAMPLES) == ["digits", "few_labels", "larger_than_memory", "service"]
    page = (DOCS / "pages" / "examples.md").read_text("utf-8")
    assert all(f"[[example: {name}.py]]" in page for name in EXAMPLES)


def test_digits(tmp_path):
    assert load("digits").main(500) > 0.7
    assert (tmp_path / "digits.png").stat().st_size > 1000


def test_few_labels():
    chosen, drawn = load("few_labels").main(1500, 40)
    assert chosen > 0.6
    assert drawn > 0.4


def test_larger_than_memory(tmp_path):
    assert load("larger_than_memory").main(2000) > 0
    assert list((tmp_path / "labels").glob("*.parquet"))


@pytest.mark.full
def test_service(tmp_path):
    with server(tmp_path / "data") as address:
        files = load("service").main(address, 400)
    assert "report.html" in {path.name for path in files}


@pytest.mark.full
def test_at_the_sizes_that_they_have_by_themselves():
    assert load("digits").main() > 0.85
    chosen, drawn = load("few_labels").main()
    # The mean of ten draws is uncertain by a hundredth, what is chosen by another.
    assert chosen > max(0.65, drawn - 0.02)
    load("larger_than_memory").main()
