import threading

import pytest
from PIL import Image, ImageFile

from layerflow_core.errors import VideoFileError
from layerflow_core.video.image_files import FORMATS, open_image, pillow_errors


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tif", "a.gif", "a.bmp"])
def test_listed_formats_are_opened_whatever_their_name_says(tmp_path, name):
    Image.new("RGB", (4, 2)).save(tmp_path / name)
    odd = (tmp_path / name).rename(tmp_path / "image.dat")
    with open_image(odd) as image:
        assert image.size == (4, 2) and image.format in FORMATS


@pytest.mark.parametrize("name", ["a.eps", "a.ppm", "a.tga", "a.ico"])
def test_others_are_not_even_if_pillow_could(tmp_path, name):
    Image.new("RGB", (16, 16)).save(tmp_path / name)
    disguised = (tmp_path / name).rename(tmp_path / "a.png")
    with pytest.raises(VideoFileError, match="none of PNG, JPEG"), open_image(disguised):
        pass


def test_bytes_can_stand_in_for_the_file_s_own(tmp_path):
    Image.new("RGB", (4, 2)).save(tmp_path / "a.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "b.png")
    with open_image(tmp_path / "a.png", data=(tmp_path / "b.png").read_bytes()) as image:
        assert image.size == (8, 8)


def test_a_cut_image_is_refused_although_another_program_told_pillow_otherwise(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    path = tmp_path / "a.jpg"
    Image.effect_noise((64, 64), 50).save(path)
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(VideoFileError, match="is it complete"), open_image(path) as image:
        image.load()
    assert ImageFile.LOAD_TRUNCATED_IMAGES


def test_the_switch_is_set_back_by_the_last_of_several_images(tmp_path, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    Image.new("RGB", (4, 2)).save(tmp_path / "a.png")
    seen = []
    with open_image(tmp_path / "a.png"):

        def open_another():
            with open_image(tmp_path / "a.png"):
                seen.append(ImageFile.LOAD_TRUNCATED_IMAGES)
            seen.append(ImageFile.LOAD_TRUNCATED_IMAGES)

        thread = threading.Thread(target=open_another)
        thread.start()
        thread.join()
    assert seen == [False, False] and ImageFile.LOAD_TRUNCATED_IMAGES


def test_a_bomb_is_too_large_and_other_errors_pass(tmp_path):
    with pytest.raises(VideoFileError, match="too large"), pillow_errors(tmp_path / "a.png"):
        raise Image.DecompressionBombError("exceeds the limit")
    with pytest.raises(KeyboardInterrupt), pillow_errors(tmp_path / "a.png"):
        raise KeyboardInterrupt
