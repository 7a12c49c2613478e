import pytest

from fastclust_kernels.dispatch import Backend, Request, choose, report
from fastclust_kernels.errors import BackendError

CPU = Backend("cpu-one", print, ("cpu",), ("float32",))
GPU = Backend("gpu-one", print, ("cuda",), ("float32", "float16"), needs=("no_such_module",))
ORACLE = Backend("reference", print, ("cpu",), ("float32",), automatic=False)
TABLE = (GPU, CPU, ORACLE)


def test_auto_takes_the_first_without_reasons():
    assert choose("op", TABLE, Request("cpu", "float32"), "auto") is CPU


def test_auto_never_takes_the_oracle():
    with pytest.raises(BackendError):
        choose("op", (ORACLE,), Request(), "auto")


def test_an_explicit_name_is_obeyed_or_raises_with_all_reasons():
    assert choose("op", TABLE, Request(), "reference") is ORACLE
    with pytest.raises(BackendError, match=r"gpu-one: no_such_module is not installed; runs on cuda, not on cpu"):
        choose("op", TABLE, Request(), "gpu-one")


def test_the_report_has_one_choice_for_each_operation_and_a_reason_for_each_other():
    rows = report()
    for operation in {row["operation"] for row in rows}:
        chosen = [row for row in rows if row["operation"] == operation and row["chosen"]]
        assert len(chosen) == 1
    assert all(row["reasons"] for row in rows if not row["chosen"])
    assert not any(row["reasons"] for row in rows if row["chosen"])
