"""Every public name says what it takes, returns and raises: shapes, dtypes and errors where it takes arrays."""

from __future__ import annotations

import importlib
import inspect
import re

import pytest

from tests.docs.blocks import DOCS

#: Modules whose ``__all__`` is public.
MODULES = (
    "fastclust", "fastclust.client", "fastclust.cluster", "fastclust.data", "fastclust.distributed", "fastclust.errors",
    "fastclust.evaluation", "fastclust.insight", "fastclust.learning", "fastclust.learning.losses", "fastclust.maps",
    "fastclust.metric", "fastclust.mining", "fastclust.neighbors", "fastclust.pipeline", "fastclust.report",
)  # fmt: skip
#: Names of parameters that are arrays or rows.
ARRAYS = {
    "X", "Y", "rows", "others", "labels", "labels_true", "labels_pred", "embedding", "embeddings", "points", "pairs",
    "means", "covariances", "covariance", "precision", "factor", "sample_weight", "teacher", "student_f", "W", "array",
}  # fmt: skip
SHAPE = re.compile(r"``\[[a-z0-9_, ]+\]``|\[(?:n|q|p|m|k|N|rows|b)(?:, [^\]]+)*\]|each row|one a row")
DTYPE = re.compile(
    r"float(32|64)?\b|u?int(8|32|64)?\b|bool\b|integers?\b|dtype|numbers of rows|row numbers|CSR|in kind"
)
ERRORS = re.compile(r"Raises|\w+Error\b")
WITHOUT_ARRAYS = re.compile(
    r"^(None|bool|str|float|int|Path|list\[(Path|str)\]|Self|NeighborGraph|'?\w*Job'?|Dataset)?$"
)


def public():
    """Yield (name, object, its class or None) of everything public: names, and methods and properties of classes."""
    seen = set()
    for module in map(importlib.import_module, MODULES):
        for name in module.__all__:
            thing = getattr(module, name)
            if inspect.ismodule(thing) or id(thing) in seen or not callable(thing):
                continue
            seen.add(id(thing))
            yield f"{module.__name__}.{name}", thing, None
            if inspect.isclass(thing):
                for key in dir(thing):
                    member = inspect.getattr_static(thing, key)
                    if isinstance(member, classmethod | staticmethod):
                        member = member.__func__
                    owned = (
                        (getattr(member, "fget", member).__module__ or "").startswith("fastclust")
                        if (inspect.isfunction(member) or isinstance(member, property))
                        else False
                    )
                    if owned and not key.startswith("_") and id(member) not in seen:
                        seen.add(id(member))
                        yield f"{module.__name__}.{name}.{key}", member, thing


PUBLIC = list(public())


def lacking(thing, owner):
    """Return what the docstring of a function, method or class does not say."""
    text = (thing.fget if isinstance(thing, property) else thing).__doc__ or ""
    if not text.strip() or text.startswith(f"{getattr(thing, '__name__', '?')}("):  # what dataclasses write
        return ["a docstring"]
    if inspect.isclass(thing) or isinstance(thing, property):
        return []
    parameters = inspect.signature(thing).parameters
    taken = {name for name in ARRAYS & set(parameters) if parameters[name].annotation not in ("bool", "int")}
    if not taken:
        return []
    around = text + (owner.__doc__ or "" if owner else "")
    found = [] if SHAPE.search(text) else ["shapes"]
    returned = str(inspect.signature(thing).return_annotation).strip("'")
    if not WITHOUT_ARRAYS.match(returned) and returned != "<class 'inspect._empty'>" and not DTYPE.search(text):
        found.append("dtypes")
    if not ERRORS.search(around):
        found.append("errors")
    return found


def test_public_names_are_found():
    names = {name for name, _, _ in PUBLIC}
    assert len(names) > 200
    assert {"fastclust.KMeans.fit", "fastclust.mahalanobis", "fastclust.client.Client.kmeans"} <= names


@pytest.mark.parametrize(("name", "thing", "owner"), PUBLIC, ids=[name for name, _, _ in PUBLIC])
def test_a_docstring_says_shapes_dtypes_and_errors(name, thing, owner):
    assert lacking(thing, owner) == []


def test_a_bare_docstring_is_found_lacking():
    def bare(X) -> list: ...

    def summary(X) -> list:
        """Do it."""

    def whole(X) -> list:
        """Return int32 ``[n]`` of ``X`` ``[n, d]``. Raises InputError."""

    assert lacking(bare, None) == ["a docstring"]
    assert lacking(summary, None) == ["shapes", "dtypes", "errors"]
    assert lacking(whole, None) == []


def test_every_public_name_stands_in_the_reference():
    shown = set()
    for page in (DOCS / "pages" / "reference").glob("*.md"):
        shown |= set(re.findall(r"^::: ([\w.]+)$", page.read_text("utf-8"), re.MULTILINE))
    missing = []
    for module in map(importlib.import_module, MODULES):
        for name in module.__all__:
            thing = getattr(module, name)
            places = {f"{module.__name__}.{name}", f"{module.__name__}"}
            home = f"{getattr(thing, '__module__', '')}.{name}"
            if module.__name__ != "fastclust" and not places & shown and home not in shown and callable(thing):
                missing.append(f"{module.__name__}.{name}")
    assert missing == []
