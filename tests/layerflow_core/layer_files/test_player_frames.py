import pytest
import torch

from layerflow_core.errors import FrameError
from layerflow_core.layer_files import player_frames
from layerflow_core.layer_files.player_frames import write_player_frames
from layerflow_core.layers import Foreground, LayerVideo
from layerflow_core.video.files import read_video


def layers_of(frames: int = 2, height: int = 8, width: int = 12) -> LayerVideo:
    generator = torch.Generator().manual_seed(0)

    def draw(channels: int = 3) -> torch.Tensor:
        whole = torch.randint(0, 256, (frames, channels, height, width), generator=generator)
        return whole / 255

    foregrounds = tuple(Foreground(name, draw(), draw(1)) for name in ("dog", "cat"))
    return LayerVideo(foregrounds, draw(), draw(), 8.0, 2 * draw() - 1)


def read_frames(folder) -> torch.Tensor:
    """The lossless ones, [N, 3, H * rows, W]."""
    return torch.cat([read_video(path).colour for path in sorted(folder.glob("*.png"))])


def test_every_layer_is_a_row_untouched_by_the_others(tmp_path):
    layers = layers_of()
    run = write_player_frames(tmp_path, layers, 512)
    assert (run["width"], run["height"], run["fps"]) == (12, 8, 8.0)
    assert run["frames"] == ["00000.png", "00001.png"]
    assert (tmp_path / run["stream"]).stat().st_size > 0
    atlas = read_frames(tmp_path)
    assert atlas.shape == (2, 3, 8 * 7, 12)

    def row(index: int) -> torch.Tensor:
        return atlas[:, :, 8 * index : 8 * index + 8]

    expected = [layers.background]
    for layer in layers.foregrounds:
        expected += [layer.colour, layer.alpha.expand(-1, 3, -1, -1)]
    expected += [layers.residual / 2 + 0.5, layers.blended]
    for index, pixels in enumerate(expected):
        assert torch.allclose(row(index), pixels, atol=0.6 / 255), index


def test_layers_are_listed_from_the_lowest_with_their_rows(tmp_path):
    run = write_player_frames(tmp_path, layers_of(), 512)
    listed = [(row["name"], row["kind"], row["row"], row["alphaRow"]) for row in run["layers"]]
    assert listed == [
        ("background", "background", 0, None),
        ("dog", "foreground", 1, 2),
        ("cat", "foreground", 3, 4),
        ("residual", "residual", 5, None),
        ("blended", "blended", 6, None),
    ]


@pytest.mark.parametrize("longest, size", [(6, (6, 4)), (12, (12, 8)), (1, (1, 1))])
def test_large_layers_are_made_smaller_and_small_ones_stay(tmp_path, longest, size):
    run = write_player_frames(tmp_path, layers_of(), longest)
    assert (run["width"], run["height"]) == size
    assert read_frames(tmp_path).shape[2:] == (7 * size[1], size[0])


def test_what_is_not_there_has_no_row(tmp_path):
    alone = LayerVideo((Foreground("dog", torch.rand(1, 3, 4, 4), None),), None, None, 8.0)
    run = write_player_frames(tmp_path, alone, 512)
    assert [row["kind"] for row in run["layers"]] == ["foreground"]
    assert read_frames(tmp_path)[:, :, 4:].min() == 1, "no alpha is opaque"


def test_a_still_is_held_and_other_lengths_are_refused(tmp_path):
    layers = layers_of(3)
    held = LayerVideo(layers.foregrounds, layers.background[:1], None, 8.0)
    assert len(write_player_frames(tmp_path / "a", held, 512)["frames"]) == 3
    other = LayerVideo(layers.foregrounds, layers.background[:2], None, 8.0)
    with pytest.raises(FrameError):
        write_player_frames(tmp_path / "b", other, 512)


def test_without_the_encoder_there_are_frames_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(player_frames, "can_record", lambda: False)
    run = write_player_frames(tmp_path, layers_of(), 512)
    assert run["stream"] is None
    assert sorted(path.name for path in tmp_path.iterdir()) == run["frames"]
