from fractions import Fraction

import torch

from layerflow_core.video.files import read_video
from layerflow_core.video.frame_selection import FrameSelection
from layerflow_core.video.streams.encodings import write_h264, write_prores


def test_footage_knows_the_file_s_rate_where_it_is_another(tmp_path):
    write_h264(tmp_path / "a.mp4", torch.rand(8, 3, 16, 16), Fraction(24000, 1001))
    whole = read_video(tmp_path / "a.mp4")
    assert whole.fps == Fraction(24000, 1001) and whole.alpha is None
    halved = read_video(tmp_path / "a.mp4", selection=FrameSelection(every=2))
    assert halved.fps == Fraction(12000, 1001)
    assert halved.file_fps == Fraction(24000, 1001)


def test_footage_has_alpha_where_the_file_has(tmp_path):
    colour = torch.rand(2, 3, 16, 16)
    alpha = torch.rand(2, 1, 16, 16)
    write_prores(tmp_path / "a.mov", colour, alpha, 8)
    footage = read_video(tmp_path / "a.mov")
    assert footage.colour.shape == colour.shape and footage.alpha.shape == alpha.shape
