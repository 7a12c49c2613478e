import pickle

import pytest

from fastclust import errors


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_has_the_one_root_and_a_reason(name):
    cls = getattr(errors, name)
    assert issubclass(cls, errors.FastclustError)
    assert cls.reason.isupper()


def test_reasons_are_distinct():
    reasons = [getattr(errors, name).reason for name in errors.__all__]
    assert len(set(reasons)) == len(reasons)


def test_an_input_error_is_a_value_error_that_says_all_three_things():
    error = errors.InputError("n_clusters", 10, "1..5, the number of rows", "Ask for fewer clusters.")
    assert isinstance(error, ValueError)
    assert str(error) == "n_clusters: got 10; allowed: 1..5, the number of rows. Ask for fewer clusters."


def test_an_input_error_survives_pickling_between_processes():
    error = pickle.loads(pickle.dumps(errors.InputTypeError("X", "dtype object", "float32")))
    assert (type(error), error.field, error.came) == (errors.InputTypeError, "X", "dtype object")
