import av
import pytest
import torch

from layerflow_core.errors import VideoFileError
from layerflow_core.video.damage import Damage
from layerflow_core.video.streams.containers import first_video, open_container
from layerflow_core.video.streams.decoding import StreamDecoder, length_of
from layerflow_core.video.streams.encodings import VP9_ALPHA, write_h264, write_stream

from ..clips import greys, write_video


def times_of(path, keeps: bool = False):
    """Times in seconds of all frames, and what was met."""
    damage = Damage(path, keeps)
    with open_container(path) as container:
        decoder = StreamDecoder(container, first_video(container, path), damage)
        return [timed.time for timed in decoder.frames()], damage


def test_frames_come_in_the_order_they_are_shown(tmp_path):
    write_h264(tmp_path / "a.mp4", torch.rand(20, 3, 16, 16), 10)  # with B frames
    times, damage = times_of(tmp_path / "a.mp4")
    assert [float(time) for time in times] == pytest.approx([n / 10 for n in range(20)])
    assert not damage.was_met


def test_alpha_of_vp9_needs_another_decoder_and_gets_it(tmp_path):
    write_stream(tmp_path / "a.webm", torch.rand(2, 4, 16, 16), 8, VP9_ALPHA)
    path = tmp_path / "a.webm"
    with open_container(path) as container:
        decoder = StreamDecoder(container, first_video(container, path), Damage(path, False))
        assert decoder.is_foreign
        assert [timed.frame.format.name for timed in decoder.frames()] == ["yuva420p"] * 2


def test_a_cut_video_is_damage_and_its_frames_can_be_kept(tmp_path):
    path = write_video(
        tmp_path / "a.mkv", greys(40, step=5), rate=10, options={"qp": "0", "g": "1"}
    )
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(VideoFileError, match="damaged or incomplete"):
        times_of(path)
    times, damage = times_of(path, keeps=True)
    assert 0 < len(times) < 40 and damage.was_met


def test_the_length_is_what_the_file_says(tmp_path):
    for name in ("a.mp4", "a.mkv"):
        path = write_video(tmp_path / name, greys(10), rate=5)
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            assert float(length_of(container, stream)) == pytest.approx(2, abs=0.01)
