import pytest

from layerflow_core.batch.number_ranges import MOST_NUMBERS, read_ranges
from layerflow_core.errors import BatchError


def test_single_numbers_and_ranges_in_their_order():
    assert read_ranges("3", "x") == [3]
    assert read_ranges("10-12, 4,7 - 8", "x") == [10, 11, 12, 4, 7, 8]


@pytest.mark.parametrize(
    "text", ["", "a", "3-1", "1,", "-4", f"0-{MOST_NUMBERS}", "1-9" * 9, "9" * 30]
)
def test_what_is_no_range_is_named(text):
    with pytest.raises(BatchError, match="--shots: got.*expected numbers"):
        read_ranges(text, "--shots")
