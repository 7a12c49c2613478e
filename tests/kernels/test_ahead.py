"""Every Triton kernel compiled for GPUs without one, against the table of what came out when it was written."""

import json
import subprocess
import sys

import pytest

from fastclust_kernels import ahead

TABLE = {(row["operation"], row["kernel"], row["architecture"]): row for row in json.loads(ahead.BOUNDS.read_text())}


def within(found, bound):
    """No more registers or shared memory, nothing spilled, and matrix units where there were some."""
    assert found["registers"] <= bound["registers"], found
    assert found["shared_bytes"] <= bound["shared_bytes"], found
    assert found["spilled_bytes"] == found["local"] == 0, found
    assert bool(found["matrix"]) == bool(bound["matrix"]), found


def compiled(*architectures):
    command = [sys.executable, "-m", "fastclust_kernels.ahead", "--sass", *architectures]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1200)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def of(*architectures):
    """What the table must have: every kernel there is."""
    listed = "[(m, n) for m in ahead.MODULES for n in ahead.names(m)]"
    command = f"import json; from fastclust_kernels import ahead; print(json.dumps({listed}))"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    return {(module, name, each) for module, name in json.loads(done.stdout) for each in architectures}


def test_the_table_has_every_kernel_and_nothing_spills():
    assert set(TABLE) == of(*ahead.ARCHITECTURES)
    assert not any(row["spilled_bytes"] or row["local"] for row in TABLE.values())
    assert all(row["registers"] <= 255 for row in TABLE.values())
    # Products run on matrix units: float16 of the screen, float64 of distances.
    for (operation, kernel, _), row in TABLE.items():
        products = operation == "mahalanobis" and not kernel.endswith(("_4", "_4_16"))
        assert bool(row["matrix"]) == (products or kernel.startswith(("screen", "again"))), row


def test_the_kernels_compile_for_hopper_and_keep_the_bounds():
    found = compiled("sm_90")
    assert {(row["operation"], row["kernel"], row["architecture"]) for row in found} == of("sm_90")
    for row in found:
        within(row, TABLE[row["operation"], row["kernel"], "sm_90"])
        # wgmma, and not the older instruction of one warp.
        if row["kernel"].startswith(("screen", "again")):
            assert row["hopper"] == row["matrix"], row


@pytest.mark.full
def test_the_kernels_compile_for_all_and_keep_the_bounds():
    for row in compiled():
        within(row, TABLE[row["operation"], row["kernel"], row["architecture"]])


@pytest.mark.parametrize("wrong", ["spilled_bytes", "local", "registers", "shared_bytes", "matrix"])
def test_the_check_sees_a_worse_kernel(wrong):
    row = TABLE["assign", "screen_128", "sm_90"]
    within(row, row)
    with pytest.raises(AssertionError):
        within(row | {wrong: 0 if wrong == "matrix" else row[wrong] + 1}, row)
