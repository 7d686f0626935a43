"""Counts, name lists, byte sizes, durations, escapes and CSV lines."""

import csv

import pytest

from facecls.text import byte_size, csv_line, duration, name_list, plural, printable


@pytest.mark.parametrize(
    ("count", "noun", "text"),
    [
        (0, "image", "0 images"),
        (1, "image", "1 image"),
        (12345, "image", "12,345 images"),
        (1, "class", "1 class"),
        (2, "class", "2 classes"),
        (2, "micro-batch", "2 micro-batches"),
        (3, "epoch", "3 epochs"),
    ],
)
def test_a_count_has_its_noun_in_the_right_number(count: int, noun: str, text: str) -> None:
    assert plural(count, noun) == text


def test_a_name_list_ends_with_the_number_of_names_left_out() -> None:
    assert name_list(["a", "b"]) == "`a`, `b`"
    assert name_list((name for name in "abcde"), most=2) == "`a`, `b` and 3 more"
    assert name_list("abc", most=3) == "`a`, `b`, `c`"
    assert name_list([]) == ""


def test_a_byte_size_is_in_megabytes_or_gigabytes() -> None:
    assert [byte_size(n) for n in (0, 4.2e6, 999e6, 1e9, 1.34e12)] == ["0.0 MB", "4.2 MB", "999.0 MB", "1.0 GB", "1340.0 GB"]


def test_control_characters_and_surrogates_are_escaped() -> None:
    assert printable("Zoë\n\x1b[0m\udcff") == r"Zoë\n\x1b[0m\udcff"


@pytest.mark.parametrize("value", ["plain", 'a "quote"', "a,b", "two\nlines", "carriage\rreturn"])
def test_a_csv_line_reads_back(value: str) -> None:
    line = csv_line([value, 1])
    assert line.endswith("\n") and next(csv.reader([line])) == [value, "1"]


def test_a_duration_has_the_unit_that_fits_it() -> None:
    assert [duration(seconds) for seconds in (0.314, 42, 119.4, 210, 7560)] == ["0.31 s", "42 s", "119 s", "3.5 min", "2.1 h"]
