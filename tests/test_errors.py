"""The errors themselves, as another process gets them."""

import pickle

import pytest

from facecls.errors import DataError, FaceclsError, ImageError


@pytest.mark.parametrize("error", [DataError("a", "b", hint="c"), ImageError("a.jpg", "is empty", hint="c")])
def test_an_error_comes_whole_from_another_process(error: FaceclsError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
