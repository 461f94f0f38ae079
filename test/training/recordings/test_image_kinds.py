"""Images by what their bytes and format say."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from street_scene import colours, compressed, raw

from haskd_training.recordings.image_codec import (
    CompressedFormat,
    NotAPicture,
    decode_jpeg,
    example_of,
    jpeg_of,
)
from haskd_training.recordings.readers.bag import Unusable

RGB = colours()
BGR = np.ascontiguousarray(RGB[..., ::-1])
RED = (220, 30, 30)
PATTERNS = {
    # Colour channel (RGB) at the even row's even and odd column, the odd row's even and odd one.
    "bayer_rggb8": (0, 1, 1, 2),
    "bayer_bggr8": (2, 1, 1, 0),
    "bayer_gbrg8": (1, 2, 0, 1),
    "bayer_grbg8": (1, 0, 2, 1),
}


def mosaic(pattern: str) -> np.ndarray:
    """[H, W] what a sensor behind this pattern records of the picture."""
    out = np.zeros(RGB.shape[:2], np.uint8)
    for k, channel in enumerate(PATTERNS[pattern]):
        rows, columns = slice(k // 2, None, 2), slice(k % 2, None, 2)
        out[rows, columns] = RGB[rows, columns, channel]
    return out


def middle(message: object) -> np.ndarray:
    """[3] mean colour of the red third, away from its edges."""
    image = decode_jpeg(jpeg_of(message, quality=95).data)
    return image[10:110, 80:120].reshape(-1, 3).mean(0)


def told_grey(image: np.ndarray) -> bool:
    return bool((np.ptp(image, axis=-1) < 3).all())


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("compressed_as", ["", "mono8", "bgr8"])
def test_a_mosaic_that_was_compressed_gets_its_colours(pattern: str, compressed_as: str) -> None:
    told = f"{pattern}; jpeg compressed {compressed_as}"
    assert middle(compressed(0, mosaic(pattern), told=told)) == pytest.approx(RED, abs=8)


def test_restored_colours_are_told() -> None:
    told = "bayer_rggb8; jpeg compressed "
    assert (
        "Bayer mosaic (bayer_rggb8)"
        in jpeg_of(compressed(0, mosaic(told[:11]), told=told), 90).note
    )
    assert "exchanged" in jpeg_of(compressed(0, RGB, told="rgb8; jpeg compressed rgb8"), 90).note
    assert jpeg_of(compressed(0, BGR), 90).note == ""


def test_a_mosaic_in_three_equal_channels_gets_its_colours() -> None:
    three = np.repeat(mosaic("bayer_rggb8")[..., None], 3, axis=2)
    told = "bayer_rggb8; jpeg compressed bgr8"
    assert middle(compressed(0, three, told=told)) == pytest.approx(RED, abs=8)


def test_a_mosaic_in_a_png_gets_its_colours() -> None:
    message = compressed(
        0, mosaic("bayer_grbg8"), told="bayer_grbg8; png compressed ", suffix=".png"
    )
    assert middle(message) == pytest.approx(RED, abs=8)


def test_colours_that_were_made_of_a_mosaic_before_are_kept() -> None:
    message = compressed(0, BGR, told="bayer_rggb8; jpeg compressed bgr8")
    assert jpeg_of(message, quality=10).data.tobytes() == message.data.tobytes()


def test_a_grey_picture_that_was_made_of_a_mosaic_stays_grey() -> None:
    ramp = np.tile(np.arange(0, 200, dtype=np.uint8), (120, 1))
    message = compressed(0, ramp, told="bayer_rggb8; jpeg compressed mono8")
    image = decode_jpeg(jpeg_of(message, quality=95).data)
    assert told_grey(image)
    assert np.abs(image[60, ::20, 0].astype(int) - ramp[60, ::20]).max() <= 3


def test_an_early_image_transport_s_red_is_red() -> None:
    # It gave RGB to a library that takes BGR, so that the file has blue for red.
    told = "rgb8; jpeg compressed rgb8"
    assert middle(compressed(0, RGB, told=told)) == pytest.approx(RED, abs=4)


@pytest.mark.parametrize(
    "told", ["rgb8; jpeg compressed bgr8", "bgr8; jpeg compressed bgr8", "jpeg"]
)
def test_a_colour_jpeg_is_kept_as_it_is(told: str) -> None:
    message = compressed(0, BGR, told=told)
    assert jpeg_of(message, quality=10).data.tobytes() == message.data.tobytes()


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tiff", ".bmp"])
def test_a_picture_in_another_file_format_is_read_whatever_its_name(suffix: str) -> None:
    message = compressed(0, BGR, told="jpeg", suffix=suffix)
    assert middle(message) == pytest.approx(RED, abs=8)


def test_a_picture_with_an_alpha_channel_is_read() -> None:
    alpha = np.dstack([BGR, np.full(BGR.shape[:2], 255, np.uint8)])
    assert middle(compressed(0, alpha, told="png", suffix=".png")) == pytest.approx(RED, abs=4)


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("16UC1", "'16UC1' is not a colour or grey one of 8 bits: it is depth"),
        ("32FC1", "'32FC1' is not a colour or grey one of 8 bits: it is depth"),
        ("mono16", "'mono16' is not a colour or grey one of 8 bits; more are not read"),
        ("bayer_rggb16", "'bayer_rggb16' is not a colour or grey one of 8 bits"),
        ("rgb16", "'rgb16' is not a colour or grey one of 8 bits"),
    ],
)
def test_deep_images_are_no_pictures(encoding: str, expected: str) -> None:
    pixels = np.zeros((120, 200), np.float32 if "F" in encoding else np.uint16)
    with pytest.raises(NotAPicture, match=expected):
        example_of(raw(0, pixels, encoding))
    with pytest.raises(NotAPicture, match=expected):
        example_of(compressed(0, np.zeros((2, 2), np.uint16), told=f"{encoding}; png compressed "))


def test_depth_shows_in_the_file_where_its_format_is_mute() -> None:
    message = compressed(0, np.full((120, 200), 900, np.uint16), told="png", suffix=".png")
    with pytest.raises(NotAPicture, match="image of 16 bits a channel: depth or a thermal picture"):
        example_of(message)


def test_compressed_depth_is_no_picture() -> None:
    message = compressed(0, np.zeros((2, 2), np.uint16), told="16UC1; compressedDepth png")
    with pytest.raises(NotAPicture, match="compressedDepth is depth"):
        example_of(message)


def test_a_broken_image_is_not_said_to_be_no_picture() -> None:
    message = compressed(0, BGR)
    message.data = message.data[:0]
    with pytest.raises(Unusable, match="image without data"):
        jpeg_of(message, 90)
    assert example_of(message) is None
    message.data = np.frombuffer(b"\xff\xd8 no picture", np.uint8)
    assert example_of(message) is None


def test_the_format_says_what_was_compressed() -> None:
    assert CompressedFormat.of("bgr8; jpeg compressed bgr8") == CompressedFormat("bgr8", "bgr8")
    assert CompressedFormat.of("16UC1; png compressed ") == CompressedFormat("16UC1", "")
    assert CompressedFormat.of("jpeg") == CompressedFormat("", "")


@given(text=st.text(max_size=40), data=st.binary(max_size=200))
def test_no_format_and_no_bytes_are_more_than_unusable(text: str, data: bytes) -> None:
    message = compressed(0, BGR[:4, :4])
    message.format, message.data = text, np.frombuffer(data, np.uint8)
    with suppress(Unusable):
        jpeg_of(message, 90)
