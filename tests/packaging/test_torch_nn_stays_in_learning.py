"""import-linter cannot forbid a submodule of a package, so this reads the sources."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [
    path
    for folder in ("fastclust", "kernels/fastclust_kernels", "server/fastclust_server")
    for path in (ROOT / folder).rglob("*.py")
]


def imports_torch_nn(source):
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        if any(name == "torch.nn" or name.startswith("torch.nn.") for name in names):
            return True
    return False


def test_only_learning_imports_torch_nn():
    found = {path.relative_to(ROOT).parts[:2] for path in SOURCES if imports_torch_nn(path.read_text("utf-8"))}
    assert found <= {("fastclust", "learning")}


@pytest.mark.parametrize("line", ["import torch.nn", "from torch import nn", "from torch.nn import functional"])
def test_the_reader_sees_every_form(line):
    assert imports_torch_nn(line)
