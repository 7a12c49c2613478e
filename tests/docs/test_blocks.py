"""Every block of code in the documents runs."""

from __future__ import annotations

import codeop
import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fastclust.cli.demo import server
from tests.commands import unknown_options
from tests.docs.blocks import DOCS, PAGES, blocks_of

#: In the order in which a reader comes to the pages: that of the site's navigation.
ORDER = re.findall(r"^ +- ([\w/]+\.md)$", (DOCS / "mkdocs.yml").read_text("utf-8"), re.MULTILINE)
BLOCKS = {path.stem: blocks for name in ORDER if (blocks := blocks_of(path := DOCS / "pages" / name))}
PYTHON = {
    stem: quick
    for stem, blocks in BLOCKS.items()
    if (quick := [b for b in blocks if b.language == "python" and not b.marks])
}
SLOW = sorted(stem for stem, blocks in BLOCKS.items() if any("full" in b.marks for b in blocks))
BASH = [b for blocks in BLOCKS.values() for b in blocks if b.language == "bash"]
ADDRESS = "localhost:50051"
ROOT = Path(__file__).resolve().parents[2]
READMES = [ROOT / "README.md", ROOT / "server" / "README.md"]


def run_python(block, namespace, address=ADDRESS):
    code = block.code.replace(ADDRESS, address)
    exec(compile(code, f"{block.page}, block {block.number}", "exec"), namespace)


def test_each_block_says_how_it_is_tested():
    assert sorted(PAGES) == sorted(DOCS / "pages" / name for name in ORDER)
    assert len(BLOCKS) >= 9
    for block in (b for blocks in BLOCKS.values() for b in blocks):
        assert block.marks <= {"full", "server", "gpu"}, block
        assert block.language in {"python", "bash"} or (block.page, block.language) == ("index.md", ""), block
        # What cannot be run is a command: installing, serving, another's cluster.
        assert not block.why_not or block.language == "bash", block


def unpasteable(code):
    """Return what an interactive Python, which ends a statement at an empty line, makes nothing of; or None."""
    pending = []
    for line in [*code.splitlines(), ""]:
        pending.append(line)
        try:
            if codeop.compile_command("\n".join(pending), symbol="single") is not None:
                pending = []
        except SyntaxError as error:
            return f"{line}: {error}"
    return "\n".join(pending).strip() or None


@pytest.mark.parametrize("path", [*PAGES, *READMES], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_python_can_be_pasted_into_a_prompt(path):
    blocks = re.findall(r"^```python\n(.*?)^```$", path.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert [problem for problem in map(unpasteable, blocks) if problem] == []


def test_what_cannot_be_pasted_is_found():
    assert "invalid syntax" in unpasteable("for i in range(2):\n    print(i)\nprint()\n")
    assert "indent" in unpasteable("def double(x):\n    y = 2 * x\n\n    return y\n")
    assert unpasteable("for i in range(2):\n    print(i)\n\nprint()\n") is None


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One for all pages: what one leaves there does not disturb another."""
    return tmp_path_factory.mktemp("reader")


@pytest.fixture(scope="module")
def another_folder(tmp_path_factory):
    """Of a second reader: files that a page writes anew are other rows, whose results of before are refused."""
    return tmp_path_factory.mktemp("another-reader")


@pytest.mark.parametrize("stem", PYTHON)
def test_python_runs(stem, folder, monkeypatch):
    monkeypatch.chdir(folder)
    namespace = {"__name__": stem}
    for block in PYTHON[stem]:
        run_python(block, namespace)


@pytest.mark.parametrize("line", [line for b in BASH for line in b.code.splitlines() if line.startswith("fastclust ")])
def test_verbs_and_options_of_each_command_exist(line):
    assert not unknown_options(line)


@pytest.mark.parametrize("stem", [stem for stem, blocks in BLOCKS.items() if any("gpu" in b.marks for b in blocks)])
def test_python_for_gpus_runs(stem):
    import torch

    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    for block in (b for b in BLOCKS[stem] if "gpu" in b.marks):
        run_python(block, {})


@pytest.mark.full
@pytest.mark.parametrize("stem", SLOW)
def test_all_blocks_of_a_page_run_in_order(stem, another_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(another_folder)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    namespace = {"__name__": stem}
    with contextlib.ExitStack() as stack:
        asked = any("server" in b.marks for b in BLOCKS[stem])
        address = stack.enter_context(server(tmp_path / "data")) if asked else ADDRESS
        for block in BLOCKS[stem]:
            if block.why_not or "gpu" in block.marks:
                continue
            if block.language == "python":
                run_python(block, namespace, address)
            else:
                subprocess.run(["bash", "-euo", "pipefail", "-c", block.code.replace(ADDRESS, address)], check=True)
