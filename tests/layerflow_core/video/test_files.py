from dataclasses import replace
from fractions import Fraction

import pytest
import torch

from layerflow_core.atomic import replacing
from layerflow_core.errors import FrameError, VideoFileError
from layerflow_core.toy.world import draw_scene, render
from layerflow_core.video import files
from layerflow_core.video.files import FrameSelection, read_video, read_with_matte
from layerflow_core.video.formats import find_format
from layerflow_core.video.png import write_png, write_png_sequence
from layerflow_core.video.streams.encodings import with_alpha, write_h264, write_prores


def quantise(pixels: torch.Tensor, top: int) -> torch.Tensor:
    """0..1 to whole numbers 0..top, rounded; uint8 or uint16."""
    whole = pixels.detach().clamp(0, 1).mul(top).round_()
    return whole.to(torch.uint8) if top == 255 else whole.to(torch.int32).to(torch.uint16)


@pytest.fixture(scope="module")
def layers():
    return render(draw_scene(5))


@pytest.mark.parametrize("fps", [Fraction(24000, 1001), Fraction(8), Fraction(25)])
def test_prores_keeps_alpha_frames_and_rate(layers, tmp_path, fps):
    write_prores(tmp_path / "a.mov", layers.foreground, layers.alpha, fps)
    back = read_video(tmp_path / "a.mov")
    assert back.fps == fps and back.colour.shape == layers.foreground.shape
    assert (back.alpha - layers.alpha).abs().max() <= 2 / 255
    assert (back.colour - layers.foreground).abs().mean() <= 1 / 255


def test_png_keeps_alpha_exactly(layers, tmp_path):
    paths = write_png_sequence(tmp_path, with_alpha(layers.foreground, layers.alpha))
    assert len(paths) == 16
    back = read_video(tmp_path)
    assert torch.equal(quantise(back.alpha, 255), quantise(layers.alpha, 255))
    assert torch.equal(quantise(back.colour, 255), quantise(layers.foreground, 255))


def test_h264_is_tagged_and_close(layers, tmp_path):
    import av

    write_h264(tmp_path / "b.mp4", layers.blended, 8)
    back = read_video(tmp_path / "b.mp4")
    assert back.alpha is None and back.colour.shape == layers.blended.shape
    assert (back.colour - layers.blended).abs().mean() < 0.02
    with av.open(str(tmp_path / "b.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_range) == (1, 1)  # BT.709, limited


def test_odd_sizes_are_kept(layers, tmp_path):
    odd = layers.blended[:, :, :63, :95]
    write_h264(tmp_path / "c.mp4", odd, 8)
    assert read_video(tmp_path / "c.mp4").colour.shape == odd.shape


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"\0" * 100)
    with pytest.raises(VideoFileError, match="broken.mp4"):
        read_video(tmp_path / "broken.mp4")
    with pytest.raises(VideoFileError, match="is not there"):
        read_video(tmp_path / "none.mp4")
    (tmp_path / "folder").mkdir()
    with pytest.raises(VideoFileError, match="no images"):
        read_video(tmp_path / "folder")
    (tmp_path / "folder" / "a.png").write_bytes(b"no image")
    with pytest.raises(VideoFileError, match="a.png"):
        read_video(tmp_path / "folder")


def test_images_of_different_sizes_are_refused(tmp_path):
    write_png(tmp_path / "0.png", torch.rand(3, 4, 4))
    write_png(tmp_path / "1.png", torch.rand(3, 4, 5))
    with pytest.raises(VideoFileError, match="different sizes"):
        read_video(tmp_path)


def test_images_of_different_sizes_are_brought_to_one(tmp_path):
    for number, width in enumerate((4, 5, 9)):
        write_png(tmp_path / f"{number}.png", torch.full((3, 4, width), 0.4))
    with pytest.raises(VideoFileError, match="4 x 4 and 5 x 4.*give width and height"):
        read_video(tmp_path)
    with pytest.raises(VideoFileError, match="different sizes"):
        read_video(tmp_path, selection=FrameSelection(height=8))
    footage = read_video(tmp_path, selection=FrameSelection(width=6, height=3))
    assert footage.colour.shape == (3, 3, 3, 6)
    assert (footage.colour - 0.4).abs().max() < 0.003


def test_kinds_of_images_mix_in_a_folder(tmp_path):
    """Grey, colour, palette and 16 bits, of which one has alpha."""
    from PIL import Image

    grey = Image.new("L", (8, 8), 102)
    grey.save(tmp_path / "0.png")
    grey.convert("P").save(tmp_path / "1.png")
    grey.convert("RGB").save(tmp_path / "2.webp", lossless=True)
    grey.convert("RGB").save(tmp_path / "3.bmp")
    Image.new("I;16", (8, 8), 102 * 257).save(tmp_path / "4.tif")
    Image.new("LA", (8, 8), (102, 51)).save(tmp_path / "5.png")
    footage = read_video(tmp_path)
    assert (footage.colour - 0.4).abs().max() < 1e-6
    assert footage.alpha.amax((1, 2, 3)).tolist() == pytest.approx([1, 1, 1, 1, 1, 0.2])
    assert footage.colour.is_contiguous()


@pytest.mark.parametrize("ending", [".PNG", ".Tif", ".JPG", ".MOV", ".Mp4", ".WEBP"])
def test_endings_in_capitals(tmp_path, ending):
    from PIL import Image

    path = tmp_path / f"a{ending}"
    if ending in (".MOV", ".Mp4"):
        write_h264(path.with_suffix(".mp4"), torch.full((3, 3, 16, 16), 0.4), 8)
        path.with_suffix(".mp4").rename(path)
    else:
        form = {".Tif": "TIFF", ".JPG": "JPEG"}.get(ending, ending[1:])
        Image.new("RGB", (16, 16), (102, 102, 102)).save(path, form)
    footage = read_video(path)
    assert (footage.colour - 0.4).abs().max() < 0.02


def test_a_image_that_repeats_is_read_once(tmp_path, monkeypatch):
    """Resampling shows it several times."""
    reads = []

    def count_reads(path):
        row = find_format(path)
        return replace(row, read_still=lambda *given: reads.append(1) or row.read_still(*given))

    monkeypatch.setattr(files, "find_format", count_reads)
    for number in range(3):
        write_png(tmp_path / f"{number}.png", torch.rand(3, 4, 4))
    footage = read_video(tmp_path, Fraction(5), FrameSelection(fps=20))
    assert len(footage.colour) == 12
    assert len(reads) == 3


def test_a_matte_of_another_length_or_size_is_kept_as_it_is(tmp_path):
    """Whoever joins them says what does not fit, and that one matte stands for all frames."""
    write_h264(tmp_path / "fill.mp4", torch.rand(3, 3, 16, 16), 8)
    write_png(tmp_path / "key.png", torch.full((3, 16, 16), 0.6))
    footage = read_with_matte(
        tmp_path / "fill.mp4", tmp_path / "key.png", FrameSelection(premultiplied=True)
    )
    assert footage.alpha.shape == (1, 1, 16, 16)
    assert float(footage.alpha.mean()) == pytest.approx(0.6, abs=0.003)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_a_file(tmp_path, layers):
    (tmp_path / "x").write_text("")
    with pytest.raises(VideoFileError, match="cannot be written"):
        write_prores(tmp_path / "x" / "a.mov", layers.foreground, layers.alpha, 8)


def test_image_of_a_wrong_shape(tmp_path):
    with pytest.raises(FrameError):
        write_png(tmp_path / "a.png", torch.rand(2, 4, 4))
