import os
from types import SimpleNamespace

import av
import pytest
import torch

from layerflow_core.errors import VideoFileError
from layerflow_core.video.png import write_png
from layerflow_core.video.streams.containers import first_video, open_container, pyav_errors
from layerflow_core.video.streams.encodings import H264, write_h264, write_stream


def test_a_video_is_opened_whatever_its_name_says(tmp_path):
    write_h264(tmp_path / "a.mp4", torch.rand(2, 3, 16, 16), 8)
    odd = (tmp_path / "a.mp4").rename(tmp_path / "clip.txt")
    with open_container(odd) as container:
        assert first_video(container, odd).codec_context.name == "h264"


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\na.mp4\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile a.mp4\n",
        "1\n00:00:00,000 --> 00:00:01,000\nhello\n",
        "",
    ],
    ids=["playlist", "joined files", "subtitles", "nothing"],
)
def test_what_leads_to_other_files_stays_closed(tmp_path, text):
    write_h264(tmp_path / "a.mp4", torch.rand(2, 3, 16, 16), 8)
    path = tmp_path / "b.mp4"
    path.write_text(text)
    with pytest.raises(VideoFileError, match="b.mp4 cannot be read"), open_container(path):
        pass


def test_a_name_is_never_a_protocol(tmp_path, monkeypatch):
    """A relative name with a colon is a file's."""
    monkeypatch.chdir(tmp_path)
    write_stream(tmp_path / "x.mp4", torch.rand(1, 3, 16, 16), 8, H264)
    os.rename("x.mp4", "concat:x")
    with open_container(type(tmp_path)("concat:x")) as container:
        assert len(container.streams.video) == 1
    with (
        pytest.raises(VideoFileError, match="is not there"),
        open_container(type(tmp_path)("http://127.0.0.1/a.mp4")),
    ):
        pass


def test_a_still_is_opened_as_the_format_that_is_asked_for(tmp_path):
    write_png(tmp_path / "a.png", torch.rand(3, 4, 4), 65535)
    with open_container(tmp_path / "a.png", "png_pipe") as container:
        assert first_video(container, tmp_path / "a.png").codec_context.name == "png"
    with open_container(tmp_path / "a.png", "tiff_pipe") as container:
        with pytest.raises(VideoFileError), pyav_errors(tmp_path / "a.png"):
            next(container.decode(video=0))


def test_a_cover_image_is_not_the_video(tmp_path):
    cover = SimpleNamespace(disposition=0x400, codec_context="cover")
    film = SimpleNamespace(disposition=0, codec_context="film")
    for streams, expected in (([cover, film], film), ([cover], cover)):
        container = SimpleNamespace(streams=SimpleNamespace(video=streams))
        assert first_video(container, tmp_path) is expected


@pytest.mark.parametrize("streams", [[], [SimpleNamespace(disposition=0, codec_context=None)]])
def test_a_container_without_a_video_that_can_be_decoded(tmp_path, streams):
    container = SimpleNamespace(streams=SimpleNamespace(video=streams))
    with pytest.raises(VideoFileError, match="no video stream|convert it to H.264"):
        first_video(container, tmp_path / "a.mp4")


def test_faults_of_the_library_become_ours_and_a_cancel_passes(tmp_path):
    for fault in (av.FFmpegError(1, "broken"), ValueError("bad"), MemoryError()):
        with pytest.raises(VideoFileError, match="is it complete"), pyav_errors(tmp_path / "a"):
            raise fault
    with pytest.raises(KeyboardInterrupt), pyav_errors(tmp_path / "a"):
        raise KeyboardInterrupt
