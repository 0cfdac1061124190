import pytest
import torch

from layerflow_core.errors import DatasetError
from layerflow_core.evaluation.fidelity import psnr
from layerflow_core.toy.clips import ProceduralClips, smear


def test_exact_clips_are_the_truth_and_not_held_out():
    clips = ProceduralClips(3, "exact", 50)
    for clip in (clips[i] for i in range(3)):
        layers = clip.check().layers
        composed = layers["foreground"] * layers["alpha"] + layers["background"] * (
            1 - layers["alpha"]
        )
        assert torch.allclose(layers["blended"], composed, atol=1e-6)
    assert len(clips) == 3 and clips.fingerprint() != ProceduralClips(3, "coarse", 50).fingerprint()
    with pytest.raises(IndexError):
        clips[3]


def test_coarse_clips_are_wrong_in_the_ways_of_real_ones():
    sizes = []
    for index in range(12):
        coarse, exact = (
            ProceduralClips(12, quality, 50)[index].check().layers
            for quality in ("coarse", "exact")
        )
        mask, inside = coarse["alpha"], exact["alpha"] > 0.5 * exact["alpha"].max()
        assert set(mask.unique().tolist()) <= {0.0, 1.0} and torch.equal(
            coarse["foreground"], coarse["blended"]
        )
        sizes.append(float(mask.sum() / inside.sum()))
        hidden = psnr(coarse["background"], exact["background"], inside)
        assert (
            psnr(exact["blended"], exact["background"], inside) < hidden < 60
        )  # better than nothing, not exact
    assert min(sizes) < 1 < max(sizes)
    assert torch.equal(
        ProceduralClips(12, "coarse", 50)[3].layers["alpha"],
        ProceduralClips(12, "coarse", 50)[3].layers["alpha"],
    )


def test_a_smear_takes_its_colour_from_around_the_hole():
    image, hole = torch.full((1, 3, 40, 40), 0.3), torch.zeros(1, 1, 40, 40)
    hole[..., 5:35, 5:35] = 1
    image[..., 10:30, 10:30] = 1.0
    filled = smear(image, hole)
    assert torch.allclose(filled, torch.full_like(filled, 0.3), atol=1e-4)


def test_unknown_qualities_are_named():
    with pytest.raises(DatasetError, match="unknown quality 'fine'"):
        ProceduralClips(1, "fine", 0)
