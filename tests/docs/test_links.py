"""The link check finds what is broken, in pages and in Markdown files; and the repository's own files have none."""

from tests.docs import links


def test_files_of_the_repository_have_no_broken_link():
    assert len(links.files()) >= 8
    assert list(links.problems_of_files(links.files())) == []


def test_what_is_broken_is_found_in_markdown(tmp_path, monkeypatch):
    monkeypatch.setattr(links, "ROOT", tmp_path)
    (tmp_path / "b.md").write_text("# One, two: `three`\n")
    page = tmp_path / "a.md"
    page.write_text(
        "[x](b.md) [x](b.md#one-two-three) ![x](no.png) [x](b.md#no) [x](http://plain.org)\n```\n[x](no)\n```\n"
    )
    found = list(links.problems_of_files([page]))
    assert [problem.split(": ")[1].split()[0] for problem in found] == ["no.png", "b.md#no", "http://plain.org"]


def test_what_is_broken_is_found_in_a_site(tmp_path):
    (tmp_path / "b.html").write_text('<h1 id="one">One</h1>')
    (tmp_path / "a.html").write_text(
        '<a href="b.html#one"></a><a href="b.html#no"></a><a href="no.html"></a><a href="http://plain.org"></a>'
        '<script src="https://elsewhere.org/x.js"></script><img src="no.png"><img src="data:,">'
        '<link href="//cdn.org/x">'
    )
    found = [problem.removeprefix("a.html: ") for problem in links.problems_of_site(tmp_path)]
    assert found == [
        "fetches https://elsewhere.org/x.js from elsewhere",
        "no.png does not exist",
        "fetches //cdn.org/x from elsewhere",
        "b.html#no has no such anchor",
        "no.html does not exist",
        "http://plain.org is not https",
    ]
