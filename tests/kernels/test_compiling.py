"""People are told that kernels are compiled when none of the kind was kept on disk, once, and otherwise not."""

import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from fastclust import progress
from fastclust_kernels import arrays, compiling, notices


@pytest.fixture(autouse=True)
def untold(monkeypatch):
    monkeypatch.setattr(compiling, "_state", {"watching": True, "told": False})


def kernel(folder, module="fastclust_kernels.assign._dense"):
    source = folder / "source.py"
    source.touch()
    code = SimpleNamespace(co_filename=str(source))
    return SimpleNamespace(
        stats=SimpleNamespace(cache_path=str(folder)), py_func=SimpleNamespace(__module__=module, __code__=code)
    )


def index(folder, *, newer):
    at = (folder / "source.py").stat().st_mtime + (1 if newer else -1)
    (folder / "other.nbi").touch()
    os.utime(folder / "other.nbi", (at, at))


def test_it_is_said_once_where_nothing_is_kept(tmp_path):
    heard = []
    one = kernel(tmp_path)
    with progress.listening(heard.append):
        compiling._look_at(one)
        compiling._look_at(one)
    assert heard == [progress.Progress(progress.NOTICE, 0.0, notices.COMPILING)]


def test_what_was_compiled_from_an_older_source_counts_for_nothing(tmp_path):
    heard = []
    one = kernel(tmp_path)
    with progress.listening(heard.append):
        index(tmp_path, newer=True)
        compiling._look_at(one)
        assert heard == []
        index(tmp_path, newer=False)
        compiling._look_at(one)
    assert len(heard) == 1


def test_nothing_is_said_of_what_is_not_kept_or_not_ours(tmp_path):
    heard = []
    never, other = kernel(tmp_path), kernel(tmp_path, "someone.elses")
    never.stats.cache_path = None
    with progress.listening(heard.append):
        compiling._look_at(never)
        compiling._look_at(other)
    assert heard == []


def test_without_a_listener_the_logger_says_it(tmp_path, caplog):
    compiling._look_at(kernel(tmp_path))
    assert [(line.name, line.message) for line in caplog.records] == [("fastclust", notices.COMPILING)]


def test_a_step_silenced_inside_of_another_still_tells_the_outer_listener():
    heard = []
    with progress.listening(heard.append), progress.as_part("outer", "inner", 0, 1), progress.listening(None):
        notices.tell("a word")
    assert heard == [progress.Progress(progress.NOTICE, 0.0, "a word")]


_CALLS = """
import numpy as np
from fastclust_kernels._finite import all_finite
assert all_finite(np.ones(8))
"""


def test_a_real_compilation_is_told_of_the_first_time_only(tmp_path):
    def said():
        environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-c", _CALLS], env=environment, capture_output=True, text=True, check=True, timeout=300
        )
        return done.stderr.strip()

    assert said() == notices.COMPILING
    assert said() == ""


@pytest.mark.parametrize("marked", [False, True])
def test_read_only_rows_are_handed_over_as_the_same_memory_without_the_mark(marked):
    rows = np.arange(6.0).reshape(3, 2)
    rows.setflags(write=not marked)
    taken = arrays.writable(rows)
    assert taken.flags.writeable
    assert np.shares_memory(taken, rows)
    assert rows.flags.writeable is not marked
    del rows
    assert taken.tolist() == [[0, 1], [2, 3], [4, 5]]
