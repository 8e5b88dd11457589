"""`python -m benchmarks.unlike_kinds RUN [FOLDER ...]`: how many images of other kinds does a run flag?

Noise, phantoms, photographs, text and blank images are made on the spot; with --images, strips, rotations and
negatives of its images too. Each further folder is a kind by itself (other films, for example).
"""

import argparse
import io
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from engine.base import command_line
from engine.base.config import UserError
from engine.base.flag_parser import FlagParser
from engine.images import decoding
from engine.images.format import ImageFormat
from engine.metrics.unlike_results import is_unlike

PROGRAM = "python -m benchmarks.unlike_kinds"
Pixels = np.ndarray  # uint8[H, W] or uint8[H, W, 3]
Make = Callable[[np.random.Generator, int], Iterator[Pixels]]  # so many images
Alter = Callable[[Pixels, np.random.Generator], Pixels]
_STRIP = (900, 50)  # height and width in pixels


def build_parser() -> argparse.ArgumentParser:
    """The command's flags."""
    parser = FlagParser(prog=PROGRAM, description=__doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="made by engine.train")
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER", help="a kind of images")
    parser.add_argument("--images", type=Path, help="images like those of the training, to alter")
    parser.add_argument("--count", type=int, default=60, help="images per kind (default: 60)")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    arguments = build_parser().parse_args(argv)
    return command_line.run(PROGRAM, lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    with command_line.quiet_imports():
        from engine.inference.predictor import Predictor

    predictor = Predictor.load(arguments.run)
    if not predictor.measures_distances:
        raise UserError(f"{arguments.run}: has no applicability.npz for its model")
    print(f"{'kind':<32} {'images':>6} {'flagged':>8} {'median':>7}")
    for name, files in _kinds(arguments):
        images = _decoded(files, predictor.contract.image_format)
        distances = predictor.outputs(images, with_distances=True).distances
        assert distances is not None
        flagged = float(is_unlike(distances).mean())
        print(f"{name:<32} {len(images):>6} {flagged:>8.1%} {np.median(distances):>7.2f}")
    return command_line.DONE


def _kinds(arguments: argparse.Namespace) -> Iterator[tuple[str, Iterator[bytes]]]:
    """The kinds of images: their names, and the contents of their files."""
    for name, make in _MADE.items():
        yield name, map(_encoded, make(np.random.default_rng(0), arguments.count))
    if arguments.images is not None:
        paths = _first(arguments.images, arguments.count)
        yield "images as they are", map(Path.read_bytes, paths)
        for name, alter in _ALTERED.items():
            yield name, _altered(paths, alter)
    for folder in arguments.folders:
        yield str(folder), map(Path.read_bytes, _first(folder, None))


def _altered(paths: Sequence[Path], alter: Alter) -> Iterator[bytes]:
    for place, path in enumerate(paths):
        yield _encoded(alter(_grey(path), np.random.default_rng(place)))


def _first(folder: Path, count: int | None) -> list[Path]:
    """Image files below a folder: all, or so many evenly spaced."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    paths = [path for path in paths if path.suffix.lower() in (".jpeg", ".jpg", ".png")]
    if not paths:
        raise UserError(f"{folder}: holds no JPEG or PNG file; expected a folder of images")
    return paths if count is None else paths[:: max(1, len(paths) // count)][:count]


def _decoded(files: Iterator[bytes], image_format: ImageFormat) -> np.ndarray:
    return np.stack([decoding.decode_bytes(data, image_format) for data in files])


def _encoded(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _grey(path: Path) -> Pixels:
    with Image.open(path) as image:
        return np.array(image.convert("L"))


# --- made on the spot ----------------------------------------------------------------------------


def _white_noise(random: np.random.Generator, count: int) -> Iterator[Pixels]:
    for _ in range(count):
        yield random.integers(0, 256, (300, 400), np.uint8)


def _weak_noise(random: np.random.Generator, count: int) -> Iterator[Pixels]:
    """Grey with noise of the strengths that phantoms have."""
    for _ in range(count):
        level, spread = random.uniform(60, 190), random.uniform(1.5, 5)
        yield np.clip(random.normal(level, spread, (300, 400)), 0, 255).astype(np.uint8)


def _soft_noise(random: np.random.Generator, count: int) -> Iterator[Pixels]:
    for _ in range(count):
        cells = int(random.integers(4, 80))
        coarse = random.integers(0, 256, (cells, cells), np.uint8)
        yield np.array(Image.fromarray(coarse).resize((400, 300), Image.Resampling.BICUBIC))


def _phantoms(random: np.random.Generator, count: int) -> Iterator[Pixels]:
    from engine.phantoms import phantom_images

    for number in range(count):
        finding = (None, *phantom_images.FINDINGS)[number % 3]
        yield phantom_images.draw_phantom(seed=1, patient=(number,), view=0, finding=finding)


def _photographs(random: np.random.Generator, count: int) -> Iterator[Pixels]:
    """The two photographs of scikit-learn, whole, then parts of them of random size."""
    from sklearn.datasets import load_sample_images

    pictures = load_sample_images().images
    yield from pictures[:count]
    for number in range(len(pictures), count):
        picture = pictures[number % len(pictures)]
        height, width = (int(random.integers(120, side)) for side in picture.shape[:2])
        top, left = (
            int(random.integers(0, whole - part + 1))
            for whole, part in zip(picture.shape, (height, width), strict=False)
        )
        yield picture[top : top + height, left : left + width]


def _text(random: np.random.Generator, count: int) -> Iterator[Pixels]:
    words = ("report", "patient", "of", "the", "finding", "lung", "left", "right")
    for _ in range(count):
        page = Image.new("L", (600, 800), 255)
        draw = ImageDraw.Draw(page)
        for line in range(20, 780, 14):
            draw.text((20, line), " ".join(random.choice(words, 8)), fill=0)
        yield np.array(page)


def _blank(random: np.random.Generator, count: int) -> Iterator[Pixels]:
    for level in np.linspace(0, 255, min(count, 16)):
        yield np.full((300, 400), int(level), np.uint8)


_MADE: Mapping[str, Make] = {
    "white noise": _white_noise,
    "phantoms' noise": _weak_noise,
    "soft noise": _soft_noise,
    "phantoms": _phantoms,
    "photographs": _photographs,
    "pages of text": _text,
    "blank": _blank,
    "noise, 50 x 900": lambda random, count: (
        random.integers(0, 256, _STRIP, np.uint8) for _ in range(count)
    ),
}


# --- made of images like those of the training ---------------------------------------------------


def _upright_strip(pixels: Pixels, random: np.random.Generator) -> Pixels:
    left = int(random.integers(0, max(1, pixels.shape[1] - _STRIP[1])))
    return _resized(pixels[:, left : left + _STRIP[1]], _STRIP)


def _flat_strip(pixels: Pixels, random: np.random.Generator) -> Pixels:
    return _upright_strip(pixels.T, random).T


def _resized(pixels: Pixels, size: Sequence[int]) -> Pixels:
    return np.array(Image.fromarray(pixels).resize((size[1], size[0])))


_ALTERED: Mapping[str, Alter] = {
    "strips of them, 50 x 900": _upright_strip,
    "strips of them, 900 x 50": _flat_strip,
    "rotated by 90 degrees": lambda pixels, random: np.rot90(pixels).copy(),
    "rotated by 180 degrees": lambda pixels, random: pixels[::-1, ::-1].copy(),
    "negatives": lambda pixels, random: 255 - pixels,
    "upper left quarters": lambda pixels, random: pixels[
        : pixels.shape[0] // 2, : pixels.shape[1] // 2
    ],
    "brighter by a fifth": lambda pixels, random: np.clip(pixels * 1.2, 0, 255).astype(np.uint8),
}

if __name__ == "__main__":
    sys.exit(main())
