"""Check links of built pages, and of the repository's Markdown: ``python tests/docs/links.py build/docs``.

No network is asked. What is relative must exist, its anchor too; nothing may be fetched from elsewhere; addresses of
other sites must be https.
"""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parents[2]
_LINK = re.compile(r"(?<!\\)!?\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_FETCHED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}


class _Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.fetched = set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.ids.update(filter(None, (given.get("id"), given.get("name") if tag == "a" else None)))
        place = given.get(_FETCHED.get(tag, ""))
        if place and not (tag == "link" and given.get("rel") in {"canonical", "prev", "next"}):
            self.fetched.append(place)
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])


def problems_of_site(site):
    """Yield what is wrong with the links of built pages."""
    pages = {path: _Page(path.read_text("utf-8")) for path in sorted(site.rglob("*.html")) if path.name != "404.html"}
    for path, page in pages.items():
        where = path.relative_to(site)
        for link in page.fetched:
            if urlsplit(link).scheme not in {"", "data"} or link.startswith("//"):
                yield f"{where}: fetches {link} from elsewhere"
            elif not urlsplit(link).scheme and not _target(path, link).is_file():
                yield f"{where}: {link} does not exist"
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or link.startswith("//"):
                if parts.scheme not in {"https", "mailto"}:
                    yield f"{where}: {link} is not https"
                continue
            target = _target(path, link)
            if not target.is_file():
                yield f"{where}: {link} does not exist"
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].ids | {"__top"}:
                yield f"{where}: {link} has no such anchor"


def problems_of_files(paths):
    """Yield what is wrong with the links of Markdown files."""
    for path in paths:
        for link in _LINK.findall(_FENCE.sub("", path.read_text("utf-8"))):
            parts = urlsplit(link)
            where = path.relative_to(ROOT)
            if parts.scheme:
                if parts.scheme != "https":
                    yield f"{where}: {link} is not https"
                continue
            target = _target(path, link)
            if not target.exists():
                yield f"{where}: {link} does not exist"
            elif parts.fragment and target.suffix == ".md" and parts.fragment not in anchors(target.read_text("utf-8")):
                yield f"{where}: {link} has no such anchor"


def anchors(text):
    """Return the anchors that headings get: lower case, blanks as dashes, no punctuation."""
    headings = re.findall(r"^#+ (.*)$", _FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def files():
    """Return the repository's Markdown files, but for those of the site, which are checked as it is built."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    return [ROOT / name for name in listed if "fastclust/docs/pages" not in name and (ROOT / name).is_file()]


def _target(path, link):
    place = unquote(urlsplit(link).path)
    return (path.parent / place).resolve() if place else path


def main(site):
    """Print problems; return 1 if there are any."""
    problems = [*problems_of_site(Path(site).resolve()), *problems_of_files(files())]
    for problem in problems:
        print(f"links: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
