"""SciPy's and scikit-learn's own tests of the Mahalanobis distance, with ours in its place."""

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

TYPES = "compares the classes of two DistanceMetric objects; ours is no DistanceMetric"
#: By file: the plugin that puts ours in place, how many cases there are at least, and those that cannot pass, and why.
SUITES = {
    "scipy.spatial.tests.test_distance": ("swapped_scipy", 16, {}),
    "sklearn.metrics.tests.test_pairwise": ("swapped_sklearn", 9, {}),
    "sklearn.metrics.tests.test_dist_metrics": (
        "swapped_sklearn",
        17,
        {
            "test_get_metric_dtype[float32-mahalanobis-metric_kwargs5]": TYPES,
            "test_get_metric_dtype[float64-mahalanobis-metric_kwargs5]": TYPES,
        },
    ),
}
#: Skipped by SciPy itself: the metric takes no weights.
SKIPPED = {"test_Xdist_non_negative_weights[mahalanobis]", "test_immutable_input[mahalanobis]"}


@pytest.mark.parametrize("suite", SUITES)
def test_all_but_the_listed_cases_pass(tmp_path, suite):
    plugin, least, cannot = SUITES[suite]
    report = tmp_path / "report.xml"
    subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", plugin, "-p", "no:cacheprovider", "-k", "mahalanobis"),
            *("--pyargs", suite, f"--junitxml={report}"),
        ],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent), "SKLEARN_RUN_FLOAT32_TESTS": "1"},
        cwd=tmp_path,
        check=False,
        capture_output=True,
    )
    cases = list(ET.parse(report).getroot().iter("testcase"))
    failed = {case.get("name") for case in cases if case.find("failure") is not None or case.find("error") is not None}
    skipped = {case.get("name") for case in cases if case.find("skipped") is not None}
    assert failed == set(cannot)
    assert skipped <= SKIPPED
    assert len(cases) - len(failed) - len(skipped) >= least
