"""Files decoded in a graph have the pixels that the engine gives them, and a damaged one leaves the rest alone."""

import encoded_files
import numpy as np
import pytest
import tensorflow as tf

from engine.images import decoding
from engine.images.format import ImageFormat
from engine.inference.export import encoded_images

FORMATS = {
    "grey of 12 bits": ImageFormat(image_size=(48, 40), channels=1, bits=12),
    "padded colour": ImageFormat(image_size=(33, 64), channels=3, keep_aspect_ratio=True),
}
WHOLE, DAMAGED = encoded_files.whole(), encoded_files.damaged()


@pytest.fixture(
    scope="module",
    params=["grey of 12 bits", pytest.param("padded colour", marks=pytest.mark.slow)],
)
def image_format(request):
    return FORMATS[request.param]


@pytest.fixture(scope="module")
def decode(image_format):
    signature = [tf.TensorSpec([None], tf.string)]
    function = tf.function(
        lambda files: encoded_images.decode_batch(files, image_format, max_pixels=10**6),
        input_signature=signature,
    )
    return lambda contents: [part.numpy() for part in function(tf.constant(contents, tf.string))]


def test_pixels_equal_those_of_the_engine_to_the_last_bit(decode, image_format):
    images, valid = decode(list(WHOLE.values()))
    expected = {name: decoding.decode_bytes(data, image_format) for name, data in WHOLE.items()}
    assert valid.all(), [name for name, good in zip(WHOLE, valid, strict=True) if not good]
    different = [
        name
        for (name, wanted), image in zip(expected.items(), images, strict=True)
        if not np.array_equal(wanted, image)
    ]
    assert not different


def test_one_bad_file_leaves_the_rest_of_its_batch_alone(decode, image_format):
    good = WHOLE["JPEG orientation 6"]
    wanted = decoding.decode_bytes(good, image_format)
    images, valid = decode([good, *DAMAGED.values(), good])
    assert [name for name, found in zip(DAMAGED, valid[1:-1], strict=True) if found] == []
    assert valid[0] and valid[-1]
    np.testing.assert_array_equal(images[0], wanted)
    np.testing.assert_array_equal(images[-1], wanted)
    assert not images[1:-1].any()


def test_no_file_and_bad_files_alone_are_answered(decode, image_format):
    images, valid = decode([])
    assert images.shape == (0, *image_format.image_shape) and valid.shape == (0,)
    images, valid = decode([b"", b"text"])
    assert not valid.any() and not images.any()


def test_images_that_are_too_large_are_not_valid(decode):
    large = encoded_files.encoded(np.zeros((1001, 1000), np.uint8), "PNG")
    assert list(decode([large, WHOLE["PNG grey"]])[1]) == [False, True]


def test_deep_colour_is_read_only_where_its_upper_byte_means_something(decode, image_format):
    pixels = encoded_files.pattern(20, 30, 3, top=65535, dtype=np.uint16)
    images, valid = decode([encoded_files.png(pixels, colour=2)])
    assert valid[0] == (image_format.bits == 16)
    if valid[0]:
        wanted = decoding.decode_bytes(encoded_files.png(pixels, colour=2), image_format)
        np.testing.assert_array_equal(images[0], wanted)


def test_flipped_bits_never_fail_a_batch(decode):
    random = np.random.default_rng(0)
    broken = []
    for data in [WHOLE[name] for name in ("JPEG grey", "PNG grey", "BMP palette", "GIF grey")]:
        for _ in range(40):
            bytes_ = bytearray(data)
            for place in random.integers(0, len(bytes_), 3):
                bytes_[place] ^= 1 << int(random.integers(8))
            broken.append(bytes(bytes_))
    _, valid = decode([*broken, WHOLE["PNG grey"]])
    assert valid[-1]


def test_cmyk_differs_by_a_grey_level_at_most(decode, image_format):
    inks = encoded_files.encoded(
        encoded_files.Image.fromarray(encoded_files.pattern(90, 70, 4), "CMYK"), "JPEG"
    )
    images, valid = decode([inks])
    wanted = decoding.decode_bytes(inks, image_format)
    assert valid[0]
    assert np.abs(images[0].astype(int) - wanted).max() <= 1
