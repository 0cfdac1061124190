import pytest
import torch

from layerflow_core.errors import DatasetError
from layerflow_core.training.data.composer import PastedClips, PlacementJitter


class Listed(list):
    """Clips in memory as a source."""

    def fingerprint(self):
        return str(len(self))


@pytest.fixture
def sources(make_clip):
    return Listed([make_clip("dog", 4)]), Listed([make_clip("lawn", 9), make_clip("wall", 1)])


def test_layers_of_a_pasted_clip_compose_exactly(sources):
    clip = PastedClips(*sources, 3)[1]
    layers = clip.layers
    assert {len(p) for p in layers.values()} == {4}
    composed = layers["foreground"] * layers["alpha"] + layers["background"] * (1 - layers["alpha"])
    assert torch.allclose(layers["blended"], composed, atol=1e-6)
    assert clip.prompts["blended"] == "a dog in front of a lawn"


def test_a_number_gives_the_same_clip_and_another_another(sources):
    pasted = PastedClips(*sources, 8)
    assert torch.equal(pasted[2].layers["blended"], PastedClips(*sources, 8)[2].layers["blended"])
    assert not torch.equal(pasted[2].layers["alpha"], pasted[3].layers["alpha"])
    assert len(pasted) == 8 and pasted.fingerprint() != PastedClips(*sources, 9).fingerprint()
    with pytest.raises(IndexError):
        pasted[8]


def test_without_freedom_the_foreground_stays_as_it_was(sources):
    still = PlacementJitter(scale=(1, 1), offset=0, speed=(1, 1))
    for index in range(4):
        clip, source = PastedClips(*sources, 4, still)[index], sources[0][0]
        assert any(
            torch.allclose(clip.layers["alpha"][0], frame, atol=1e-5)
            for frame in source.layers["alpha"]
        )
        inside = source.layers["alpha"][:1] == 1
        assert any(
            torch.allclose(clip.layers["foreground"][:1] * inside, f * inside, atol=1e-4)
            for f in source.layers["foreground"][:, None]
        )


def test_a_foreground_strays_by_a_share_of_the_frame(make_clip, sources):
    """A square in the middle of a frame, as large as it was, against where its middle comes to lie."""
    strays = PlacementJitter(scale=(1, 1), offset=0.2, speed=(1, 1))
    shifts = set()
    for index in range(8):
        alpha = PastedClips(*sources, 8, strays)[index].layers["alpha"][0, 0]
        down, right = torch.meshgrid(
            *(torch.arange(float(size)) for size in alpha.shape), indexing="ij"
        )
        middle = [float((alpha * axis).sum() / alpha.sum()) for axis in (right, down)]
        shift = (middle[0] - 6.5, middle[1] - 5.5)
        assert abs(shift[0]) <= 0.2 * 16 + 1e-4
        assert abs(shift[1]) <= 0.2 * 12 + 1e-4
        assert float(alpha.sum()) == pytest.approx(36, abs=0.01)
        shifts.add(shift)
    assert len(shifts) == 8


@pytest.mark.parametrize("wrong", [{"scale": (0, 1)}, {"speed": (2, 1)}, {"offset": -1}])
def test_impossible_freedom_is_refused(wrong):
    with pytest.raises(DatasetError, match="expected"):
        PlacementJitter(**wrong)
