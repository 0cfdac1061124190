from fractions import Fraction

import pytest

from layerflow_core.errors import DatasetError
from layerflow_core.rates import exact_rate, read_rate


@pytest.mark.parametrize(
    ("value", "rate"),
    [
        (24, Fraction(24)),
        (23.976, Fraction(24000, 1001)),
        ("24000/1001", Fraction(24000, 1001)),
        ("23.98", Fraction(24000, 1001)),
        (" 8 ", Fraction(8)),
        (12.5, Fraction(25, 2)),
        (Fraction(1, 2), Fraction(1, 2)),
    ],
)
def test_rates_as_people_and_files_write_them(value, rate):
    assert read_rate(value, "x", DatasetError) == rate


@pytest.mark.parametrize(
    "value",
    [
        "1e99999999",
        "1e9",
        "9" * 5000,
        "1/0",
        "0",
        "-8",
        "1001",
        1001,
        0,
        -1,
        1e300,
        10**400,
        -(10**400),
        float("nan"),
        float("inf"),
        True,
        None,
        [],
        {},
        "",
        "eight",
        "1/2/3",
        "١٢",
    ],
    ids=lambda value: repr(value)[:12],
)
def test_what_is_no_rate_is_a_typed_error_at_once(value):
    with pytest.raises(DatasetError, match="clip.json: got the frame rate"):
        read_rate(value, "clip.json", DatasetError)


@pytest.mark.parametrize("fps", [8, 24, 25, 29.97, 30, 47.952, 59.94, 60])
def test_exact_rates_are_near(fps):
    assert abs(exact_rate(fps) - Fraction(fps)) < Fraction(1, 200)
