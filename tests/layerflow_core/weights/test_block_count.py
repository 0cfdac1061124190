import pytest

from layerflow_core.errors import CheckpointError
from layerflow_core.weights.block_count import count_blocks

BLOCK = r"blocks\.(\d+)\."


def test_blocks_are_counted_once_each_and_other_keys_not_at_all():
    keys = ["blocks.0.a", "blocks.1.a", "blocks.1.b", "blocks.x.a", "head.3.a", "my.blocks.7.a"]
    assert count_blocks(keys, BLOCK) == 2
    assert count_blocks([], BLOCK) == 0


def test_ten_blocks_and_more_in_any_order():
    assert count_blocks([f"blocks.{number}.a" for number in reversed(range(42))], BLOCK) == 42


@pytest.mark.parametrize(
    "numbers, message",
    [
        ((1, 2), r"got blocks\.\d\. and nothing of blocks\.0\."),
        ((0, 1, 3), r"got blocks\.3\. and nothing of blocks\.2\."),
        ((0, 10**9), "got a block of number 1000000000"),
        ((0, 99_999), r"got blocks\.99999\. and nothing of blocks\.1\."),
    ],
)
def test_a_gap_is_named_and_no_number_is_believed(numbers, message):
    with pytest.raises(CheckpointError, match=message):
        count_blocks([f"blocks.{number}.a" for number in numbers], BLOCK)
