"""What all tests share: turns of tests that must be alone, and a watch over skipped tests."""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest

from tests.interpreting import patch_once
from tests.turns import turn

if find_spec("triton") and "TRITON_INTERPRET" not in os.environ:
    # Triton's own functions are made for its interpreter, or not, at its first import, whoever imports it first.
    os.environ["TRITON_INTERPRET"] = "1"
    import triton.language  # noqa: F401 - for its effect

    del os.environ["TRITON_INTERPRET"]
    patch_once()

pytest_plugins = ("tests.certificates", "tests.postgres")

#: In CI: a comma-separated list of words, one of which the reason of every skip must contain.
_MAY_SKIP = "FASTCLUST_TESTS_MAY_SKIP"


@pytest.fixture(scope="session", autouse=True)
def _cold():
    """Most servers of tests live for too short a time to be worth warming; a test of warming says so itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTCLUST_COLD", "1")
        yield


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item):
    """Wait for the turn of a test, outside of its time limit."""
    if not hasattr(item.config, "workerinput"):  # one process: one test at a time
        return (yield)
    with turn(alone=item.get_closest_marker("alone") is not None):
        return (yield)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session, exitstatus):
    """Fail the run if something was skipped that must not be."""
    words = os.environ.get(_MAY_SKIP)
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if words is None or reporter is None or exitstatus != pytest.ExitCode.OK:
        return
    allowed = [word.strip().lower() for word in words.split(",")]
    for report in reporter.stats.get("skipped", []):
        reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
        if not any(word in reason.lower() for word in allowed):
            reporter.write_line(f"\n{report.nodeid}: must not be skipped here: {reason}", red=True)
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
