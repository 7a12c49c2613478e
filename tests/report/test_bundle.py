"""The committed bundle is what its source builds to."""

import shutil
import subprocess
from importlib import resources
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "fastclust" / "report" / "page"


@pytest.mark.skipif(shutil.which("npm") is None, reason="Node and npm are not installed")
def test_the_bundle_is_built_from_the_source(tmp_path):
    copy = tmp_path / "page"
    shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("node_modules"))
    installed = subprocess.run(
        ["npm", "ci", "--no-audit", "--no-fund"], cwd=copy, capture_output=True, text=True, check=False, timeout=240
    )
    if installed.returncode != 0:
        pytest.skip(f"npm cannot install the page's packages here: {installed.stderr.strip()[-300:]}")
    subprocess.run(["node", "build.mjs", str(tmp_path / "out")], cwd=copy, check=True, timeout=120)
    static = resources.files("fastclust.report") / "static"
    for name in ("page.js", "page.css", "page.html", "LICENSES.txt"):
        built = (tmp_path / "out" / name).read_text("utf-8")
        assert built == (static / name).read_text("utf-8"), f"{name} differs: run npm ci and npm run build in {SOURCE}"
