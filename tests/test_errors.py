"""Errors survive being pickled."""

import pickle

import pytest

from facecls.errors import DataError, FaceclsError, ImageError


@pytest.mark.parametrize("error", [DataError("a", "b", hint="c"), ImageError("a.jpg", "is empty", hint="c")])
def test_an_error_keeps_its_attributes_through_pickle(error: FaceclsError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))
