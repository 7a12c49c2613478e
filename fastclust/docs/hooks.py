"""What the documents take from elsewhere in the repository: measured figures, and links for names in docstrings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

__all__ = ["on_files", "on_page_content", "on_page_markdown"]

_ROOT = Path(__file__).resolve().parents[2]
_RESULTS = _ROOT / "bench" / "results"
_EXAMPLES = Path(__file__).resolve().parent / "examples"
_MARK = re.compile(r"^\[\[(results|example): (\S+)\]\]$", re.MULTILINE)
#: What mkdocstrings leaves of a role such as :class:`~fastclust.KMeans`.
_ROLE = re.compile(r":(?:class|func|meth|mod|data|attr):<code>~?([\w.]+)</code>")
_REFERRED = re.compile(r"^::: (\S+)$", re.MULTILINE)

_places: dict[str, str] = {}


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the plots of the benchmarks, and learn where each public name is described."""
    for picture in sorted(_RESULTS.glob("*.png")):
        files.append(File.generated(config, f"results/{picture.name}", abs_src_path=str(picture)))
    _places.clear()
    for page in Path(config.docs_dir).glob("reference/*.md"):
        for name in _REFERRED.findall(page.read_text("utf-8")):
            _places.setdefault(name.rpartition(".")[2], f"{page.stem}.html#{name}")
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 - mkdocs's signature
    """Put figures and example scripts where a page names them."""
    return _MARK.sub(lambda found: (_results if found[1] == "results" else _example)(found[2]), markdown)


def on_page_content(html: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 - mkdocs's signature
    """Make links of names in docstrings."""
    up = "../" * page.url.count("/")

    def link(found: re.Match[str]) -> str:
        shown, last = found[1], found[1].rpartition(".")[2]
        place = _places.get(last)
        return f"<code>{shown}</code>" if place is None else f'<a href="{up}reference/{place}"><code>{shown}</code></a>'

    return _ROLE.sub(link, html)


def _results(name: str) -> str:
    """Return a part of the tables, or the newest report of a kind, with its headings below the page's own."""
    if name == "targets":
        text = (_RESULTS / "tables.md").read_text("utf-8")
        found = re.search(r"^## Targets\n(.*?)(?=^## )", text, re.MULTILINE | re.DOTALL)
    elif name == "speed":
        text = (_ROOT / "README.md").read_text("utf-8")
        found = re.search(r"<!-- written by `python -m bench report`: begin -->\n(.*?)<!-- written", text, re.DOTALL)
    else:
        reports = sorted(_RESULTS.glob(f"{name}-*.md"))
        if not reports:
            raise PluginError(f"bench/results holds no report {name}-*.md")
        body = reports[-1].read_text("utf-8").partition("\n")[2]
        return re.sub(r"^(#+ )", r"##\1", body, flags=re.MULTILINE)
    if found is None:
        raise PluginError(f"the part {name} was not found in the results of the benchmarks")
    return found[1]


def _example(name: str) -> str:
    return f"```python\n{(_EXAMPLES / name).read_text('utf-8')}```"
