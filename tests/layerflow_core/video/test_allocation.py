"""Memory: how much reading takes at its peak, and what is refused before anything is read."""

import io
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from layerflow_core.errors import VideoFileError
from layerflow_core.video import allocation
from layerflow_core.video.files import read_video
from layerflow_core.video.streams.decoding import StreamDecoder

from .clips import deep_png, deep_tiff, greys, png_chunks, png_of, read, write_video

PACK = Path(__file__).parents[3]
MOST = 1.15  # of the tensor
GIGABYTE = 10**9


@pytest.fixture
def little(monkeypatch):
    """A machine with 4 GB free."""
    monkeypatch.setattr(allocation, "free_memory", lambda: 4 * GIGABYTE)


PEAKS = """
import sys
from pathlib import Path
from layerflow_core.video.files import read_video


def memory(name):  # bytes; the system counts it for this program alone
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024


for few, many in zip(sys.argv[1::2], sys.argv[2::2]):
    read_video(Path(few))  # so that all libraries are loaded
    before = memory("VmRSS")
    footage = read_video(Path(many))
    size = footage.colour.nbytes + (0 if footage.alpha is None else footage.alpha.nbytes)
    print(round((memory("VmHWM") - before) / size, 3))
    del footage
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc tells the peak")
def test_reading_takes_little_more_than_its_result(tmp_path):
    """Peaks through the bytes of the result; the highest so far, as one process reads all kinds."""
    names = ["a.mp4", "a.mkv", "folder", "a.apng", "a.mov"]  # the last one has alpha, so is larger
    paths = []
    for name in names:
        for count in (2, 150):
            path = tmp_path / str(count) / name
            path.parent.mkdir(exist_ok=True)
            make(path, greys(150, 360, 640, step=1)[:count])
            paths.append(str(path))
    command = [sys.executable, "-c", PEAKS, *paths]
    done = subprocess.run(command, cwd=PACK, capture_output=True, text=True, check=True)
    peaks = dict(zip(names, map(float, done.stdout.split())))
    assert list(peaks) == names
    assert peaks["a.mp4"] > 0.9
    assert {name: peak for name, peak in peaks.items() if peak > MOST} == {}


def make(path: Path, arrays) -> None:
    if path.suffix == ".mp4":
        write_video(path, arrays, "mpeg4", "yuv420p")
    elif path.suffix == ".mkv":  # which does not know how many frames it has
        write_video(path, arrays, "mpeg4", "yuv420p", container_options={"live": "1"})
    elif path.suffix == ".mov":
        write_video(path, arrays, "qtrle", "argb")
    elif path.suffix == ".apng":
        first, *others = (Image.fromarray(array) for array in arrays)
        first.save(path, "PNG", save_all=True, append_images=others, duration=100)
    else:
        path.mkdir()
        Image.fromarray(arrays[0]).save(path / "0.png")
        for number in range(1, len(arrays)):
            os.link(path / "0.png", path / f"{number}.png")


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm", ".avi"])
def test_a_video_that_will_not_fit_is_refused_before_it_is_decoded(tmp_path, monkeypatch, suffix):
    codec = "libvpx-vp9" if suffix == ".webm" else "mpeg4"
    path = write_video(tmp_path / f"a{suffix}", greys(50, 64, 64, 4), codec, "yuv420p")
    read_video(path)
    monkeypatch.setattr(allocation, "free_memory", lambda: 2 * 10**6)
    monkeypatch.setattr(StreamDecoder, "frames", lambda self: pytest.fail("it was decoded"))
    with pytest.raises(VideoFileError, match=r"5[01] frames of 64 x 64.*GB as floats"):
        read_video(path)


def test_picking_less_makes_it_fit(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4", greys(50, 64, 64, 4), "mpeg4", "yuv420p")
    monkeypatch.setattr(allocation, "free_memory", lambda: 2 * 10**6)
    assert len(read(path, count=20).colour) == 20
    assert len(read(path, every=3).colour) == 17
    assert read(path, width=32).colour.shape == (50, 3, 32, 32)
    for more in ({"fps": 20}, {"width": 128}, {"every": 1, "start": 5}):
        with pytest.raises(VideoFileError, match="memory are free"):
            read(path, **more)


def test_a_long_clip_of_few_bytes_is_refused(tmp_path, little):
    """Hours of nothing in some kilobytes."""
    path = write_video(tmp_path / "a.mp4", greys(2, 16, 16), "mpeg4", "yuv420p")
    data = path.read_bytes()
    start = data.index(b"stts")
    (count,) = struct.unpack_from(">I", data, start + 12)
    assert count == 2
    longer = data[: start + 12] + struct.pack(">I", 2**31 - 1) + data[start + 16 :]
    path.write_bytes(longer)
    with pytest.raises(VideoFileError, match="a.mp4"):
        read(path, fps=1000, width=4000)


def test_a_folder_that_will_not_fit_is_refused_at_its_first_image(tmp_path, little):
    make(tmp_path / "folder", greys(1, 1000, 1000))
    for number in range(1, 500):
        os.link(tmp_path / "folder" / "0.png", tmp_path / "folder" / f"{number}.png")
    with pytest.raises(VideoFileError, match="500 frames of 1000 x 1000.*6.0 GB"):
        read_video(tmp_path / "folder")


@pytest.mark.parametrize(
    "size", [{"width": 100_000, "height": 100_000}, {"width": 100_000}, {"height": 10**9}]
)
@pytest.mark.parametrize(
    "name", ["a.png", "deep.png", "a.tif", "a.webp", "a.gif", "a.mp4", "a.exr"]
)
def test_a_size_that_will_not_fit_is_refused(tmp_path, little, name, size):
    path = tmp_path / name
    array = greys(1, 64, 64)[0]
    if name == "deep.png":
        path.write_bytes(deep_png(array.astype("uint16")))
    elif name == "a.mp4":
        write_video(path, [array], "mpeg4", "yuv420p")
    elif name == "a.exr":
        OpenEXR = pytest.importorskip("OpenEXR")
        OpenEXR.File({"type": OpenEXR.scanlineimage}, {"RGB": array.astype("float32")}).write(
            str(path)
        )
    else:
        Image.fromarray(array).save(path)
    with pytest.raises(VideoFileError, match="GB of memory are free"):
        read(path, **size)


def huge_png() -> bytes:
    return patched_png(60_000, 60_000, 8)


def patched_png(width: int, height: int, bits: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "PNG")
    chunks = png_chunks(buffer.getvalue())
    head = struct.pack(">IIBBBBB", width, height, bits, 2, 0, 0, 0)
    return png_of([(b"IHDR", head), *chunks[1:]])


def huge_deep_png() -> bytes:
    return patched_png(30_000, 30_000, 16)


def huge_tiff() -> bytes:
    return deep_tiff(greys(1, 4, 4)[0].astype("uint16"), {256: 60_000, 257: 60_000})


def huge_gif() -> bytes:
    buffer = io.BytesIO()
    Image.new("P", (4, 4)).save(buffer, "GIF")
    data = bytearray(buffer.getvalue())
    struct.pack_into("<HH", data, 6, 65535, 65535)
    return bytes(data)


def huge_bmp() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "BMP")
    data = bytearray(buffer.getvalue())
    struct.pack_into("<ii", data, 18, 2**30, 2**30)
    return bytes(data)


def huge_jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, "JPEG")
    data = bytearray(buffer.getvalue())
    struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, 65500, 65500)
    return bytes(data)


def huge_webp() -> bytes:
    buffer = io.BytesIO()
    frames = [Image.new("RGB", (4, 4), (value, 0, 0)) for value in (0, 255)]
    frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:], duration=100)
    data = bytearray(buffer.getvalue())
    start = data.index(b"VP8X") + 8 + 4
    data[start : start + 6] = (16382).to_bytes(3, "little") * 2
    return bytes(data)


HUGE = {
    "a.png": huge_png,
    "deep.png": huge_deep_png,
    "a.tif": huge_tiff,
    "a.gif": huge_gif,
    "gif.png": huge_gif,
    "a.bmp": huge_bmp,
    "a.jpg": huge_jpeg,
    "a.webp": huge_webp,
}


@pytest.mark.parametrize("name", HUGE)
def test_a_declared_size_is_not_believed(tmp_path, little, name):
    (tmp_path / name).write_bytes(HUGE[name]())
    with pytest.raises(VideoFileError, match=name):
        read_video(tmp_path / name)


def test_a_containers_limit_counts(tmp_path, monkeypatch):
    (tmp_path / "memory.max").write_text("1000000000\n")
    (tmp_path / "memory.current").write_text("900000000\n")
    (tmp_path / "memory.stat").write_text("anon 5\ninactive_file 30000000\n")
    files = ((str(tmp_path / "memory.max"), str(tmp_path / "memory.current")),)
    monkeypatch.setattr(allocation, "_CGROUP_FILES", files)
    assert allocation.free_memory() == 130_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert allocation.free_memory() > 130_000_000
