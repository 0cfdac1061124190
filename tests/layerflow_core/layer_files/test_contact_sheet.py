import torch

from layerflow_core.layer_files.contact_sheet import GAP, PAPER, draw_sheet
from layerflow_core.layers import Foreground, LayerVideo


def test_rows_and_columns():
    clip = lambda value: torch.full((4, 3, 8, 12), value)  # noqa: E731
    video = LayerVideo(
        (Foreground("foreground", clip(1.0), torch.ones(4, 1, 8, 12)),), clip(0.25), clip(0.75), 8
    )
    sheet = draw_sheet(video, columns=3)
    assert sheet.shape == (3, 5 * (8 + GAP) + GAP, 3 * (12 + GAP) + GAP)
    rows = [float(sheet[0, GAP + r * (8 + GAP), GAP]) for r in range(5)]
    assert rows == [1.0, 1.0, 0.25, 0.75, 1.0]
    assert torch.allclose(sheet[:, 0, 0], torch.tensor(PAPER))
