"""Draws phantoms: grey, chest-like images made by a procedure, for when no real ones are at hand.

A phantom is a sum of soft shapes in body coordinates (x to the viewer's right, y down, the lungs
within about one unit of the origin): body, arms, spine, ribs, clavicles, heart, two lungs full of
air, and the vessels in them. Pneumonia takes air away in soft patches inside the lungs. Last, an
exposure is drawn that does not know of the pneumonia: whatever the opacities add to the mean
brightness and contrast, the exposure takes away again, so that telling the classes apart takes
looking at the lungs.

NumPy and Pillow only. Every function is pure in (seed, patient, view).
"""

import dataclasses

import numpy as np
from PIL import Image, ImageDraw

FINDINGS = ("bacteria", "virus")
CANVAS = 96  # pixels per side of the soft textures that are drawn in body coordinates
CANVAS_EXTENT = 1.3  # body units from the middle of such a texture to its edge
# Drawn in bands of rows: a band's intermediate arrays stay in the processor's cache, and below the size
# from which malloc maps fresh pages for each (18 -> 10 ms per image).
BAND_PIXELS = 16_384

_ANATOMY, _FINDING, _VIEW = range(3)  # streams of draws, so that no draw shifts another's


@dataclasses.dataclass(frozen=True)
class Anatomy:
    """What all images of one patient share; lengths in body units."""

    body_width: float
    lung_width: float
    lung_top: float
    dome: float  # y of the diaphragm's highest point
    heart_width: float
    heart_height: float
    heart_x: float
    rib_spacing: float
    rib_phase: float
    rib_strength: float
    bone: float
    fat: float
    breast: float  # soft shadows over the lower lungs, of healthy people too
    aeration: float
    vessels: np.ndarray  # float32[CANVAS, CANVAS], zero mean


@dataclasses.dataclass(frozen=True)
class View:
    """What differs between images of one patient: position, exposure, noise."""

    height: int
    width: int
    rotation: float
    scale: float
    shift: tuple[float, float]
    mean: float  # grey levels
    spread: float  # standard deviation, grey levels
    tone: float
    noise: float  # standard deviation, grey levels
    grain: np.ndarray  # float32[height, width], standard normal
    marker: tuple[float, float, float]  # x and y of the side marker, its size; shares of the image


def draw_phantom(
    *,
    seed: int,
    patient: tuple[int, ...],
    view: int,
    finding: str | None,
    min_size: int = 256,
    max_size: int = 400,
) -> np.ndarray:
    """Draws one image of one patient.

    Args:
        seed: the folder's seed, at least 0.
        patient: numbers (at least 0) that name the patient; the same ones give the same anatomy.
        view: which image of that patient; gives position, exposure, size and noise.
        finding: `bacteria` (one or two dense patches), `virus` (several thin ones on both sides),
            or None for healthy lungs. Neither anatomy nor view depends on it.
        min_size, max_size: bounds of the longer side, pixels.

    Returns:
        uint8[H, W], H and W varied.

    Raises:
        ValueError: `finding` is none of these.
    """
    if finding is not None and finding not in FINDINGS:
        raise ValueError(f"finding: got {finding!r}, expected None or one of {FINDINGS}")
    anatomy = draw_anatomy(np.random.default_rng((seed, _ANATOMY, *patient)))
    opacity = draw_opacity(np.random.default_rng((seed, _FINDING, *patient)), finding)
    view_draws = np.random.default_rng((seed, _VIEW, *patient, view))
    pose = draw_view(view_draws, min_size=min_size, max_size=max_size)
    return expose(attenuation(anatomy, opacity, pose), pose)


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """Draws a patient, healthy or not."""
    return Anatomy(
        body_width=rng.uniform(0.86, 1.0),
        lung_width=rng.uniform(0.31, 0.37),
        lung_top=rng.uniform(-0.74, -0.62),
        dome=rng.uniform(0.34, 0.54),
        heart_width=rng.uniform(0.27, 0.40),
        heart_height=rng.uniform(0.30, 0.40),
        heart_x=rng.uniform(0.06, 0.16),
        rib_spacing=rng.uniform(0.125, 0.155),
        rib_phase=rng.uniform(0.0, 1.0),
        rib_strength=rng.uniform(0.07, 0.13),
        bone=rng.uniform(0.8, 1.2),
        fat=rng.uniform(0.9, 1.1),
        breast=max(0.0, rng.uniform(-0.15, 0.15)),
        aeration=rng.uniform(0.52, 0.68),
        vessels=_soft_noise(rng, cells=26) + 0.6 * _soft_noise(rng, cells=12),
    )


def opacity_masks(
    *,
    seed: int,
    patient: tuple[int, ...],
    view: int,
    finding: str | None,
    min_size: int = 256,
    max_size: int = 400,
) -> np.ndarray:
    """Where the opacities lie in the image that `draw_phantom` gives for the same arguments.

    Of each patch the part inside the lungs, out to its radii: there it takes away a third or more of what
    it takes away in its middle.

    Returns:
        bool[P, H, W], a mask for each of P patches; P is 0 for healthy lungs.
    """
    anatomy = draw_anatomy(np.random.default_rng((seed, _ANATOMY, *patient)))
    patches = draw_patches(np.random.default_rng((seed, _FINDING, *patient)), finding)
    view_draws = np.random.default_rng((seed, _VIEW, *patient, view))
    x, y = _body_grid(draw_view(view_draws, min_size=min_size, max_size=max_size))
    lungs, _ = _lungs(anatomy, x, np.abs(x), y)
    masks = [(patch.distance(x, y) <= 1.0) & (lungs > 0.5) for patch in patches]
    return np.array(masks, bool).reshape(len(patches), *x.shape)


@dataclasses.dataclass(frozen=True)
class Patch:
    """A soft ellipse that takes air away; lengths in body units."""

    centre_x: float
    centre_y: float
    radius_x: float
    radius_y: float
    strength: float

    def distance(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Squared, in radii: 1 on the ellipse; at 2 nothing is left of it."""
        across, down = (x - self.centre_x) / self.radius_x, (y - self.centre_y) / self.radius_y
        squared: np.ndarray = across**2 + down**2
        return squared


def draw_patches(rng: np.random.Generator, finding: str | None) -> list[Patch]:
    """Draws where air is gone; nothing for healthy lungs."""
    if finding is None:
        return []
    if finding == "bacteria":
        count, radii, strengths = int(rng.integers(1, 3)), (0.20, 0.36), (0.55, 0.90)
    else:
        count, radii, strengths = int(rng.integers(5, 10)), (0.13, 0.24), (0.30, 0.60)
    first_side = rng.choice((-1.0, 1.0))
    patches = []
    for index in range(count):
        side = first_side * (-1.0) ** index
        centre_x = side * rng.uniform(0.30, 0.56)
        centre_y = rng.uniform(-0.42, 0.30)
        radius_x, radius_y = rng.uniform(*radii, size=2)
        strength = rng.uniform(*strengths)
        patches.append(Patch(centre_x, centre_y, radius_x, radius_y, strength))
    return patches


def draw_opacity(rng: np.random.Generator, finding: str | None) -> np.ndarray:
    """Draws how much of the air is gone.

    Returns:
        float32[CANVAS, CANVAS], each in 0..0.9, in body coordinates; zeros for healthy lungs.
    """
    opacity: np.ndarray = np.zeros((CANVAS, CANVAS), np.float32)
    patches = draw_patches(rng, finding)
    if not patches:
        return opacity
    x, y = _canvas_grid()
    for patch in patches:
        blob = np.clip(1.0 - patch.distance(x, y) / 2.0, 0.0, 1.0) ** 1.5 * patch.strength
        opacity = np.maximum(opacity, blob) + 0.3 * np.minimum(opacity, blob)
    mottle = 1.0 + 0.22 * _soft_noise(rng, cells=22)
    return np.clip(opacity * mottle, 0.0, 0.9).astype(np.float32)


def draw_view(rng: np.random.Generator, *, min_size: int, max_size: int) -> View:
    """Draws size, position and exposure, knowing nothing of the patient."""
    longer = int(rng.integers(min_size, max_size + 1))
    aspect = rng.uniform(1.0, 1.4)
    height, width = max(8, round(longer / aspect)), longer
    return View(
        height=height,
        width=width,
        rotation=rng.normal(0.0, 0.055),
        scale=rng.uniform(0.92, 1.10),
        shift=(rng.normal(0.0, 0.05), rng.normal(0.0, 0.05)),
        mean=rng.uniform(98.0, 140.0),
        spread=rng.uniform(46.0, 64.0),
        tone=rng.uniform(-0.35, 0.35),
        noise=rng.uniform(1.5, 5.0),
        grain=rng.standard_normal((height, width), dtype=np.float32),
        marker=(rng.uniform(0.02, 0.12), rng.uniform(0.04, 0.40), rng.uniform(0.035, 0.06)),
    )


def attenuation(anatomy: Anatomy, opacity: np.ndarray, view: View) -> np.ndarray:
    """How much of the beam the body takes away at each pixel.

    Returns:
        float32[H, W], 0 outside the body, around 1 behind bone and heart.
    """
    x, y = _body_grid(view)
    vessels, gone = (_in_view(texture, view) for texture in (anatomy.vessels, opacity))
    film = np.empty_like(x)
    band = max(1, BAND_PIXELS // view.width)
    for top in range(0, view.height, band):
        rows = slice(top, top + band)
        film[rows] = _attenuation(anatomy, x[rows], y[rows], vessels[rows], gone[rows])
    return film


def _attenuation(
    anatomy: Anatomy, x: np.ndarray, y: np.ndarray, vessels: np.ndarray, gone: np.ndarray
) -> np.ndarray:
    """`attenuation` at body coordinates x and y, where textures are as given; all float32[H, W]."""
    aside = np.abs(x)
    lungs, below = _lungs(anatomy, x, aside, y)
    heart = _heart(anatomy, x, y)
    column = _bump(x / 0.13)
    air = lungs * (1.0 - 0.85 * heart) * (1.0 - 0.75 * column)
    near_hilum = _bump((aside - 0.2) / 0.55) * _bump((y - 0.02) / 0.75)
    air *= 1.0 - np.clip(0.05 + 0.16 * vessels * (0.25 + near_hilum), 0.0, 0.6)
    air *= 1.0 - anatomy.breast * _bump((aside - 0.42) / 0.34) * _bump((y - 0.3) / 0.3) * 4.0
    air *= 1.0 - np.clip(gone, 0.0, 0.9)

    film = 0.66 * _body(anatomy, aside, y) * (1.0 - anatomy.aeration * air)
    film += 0.10 * heart + 0.07 * below * _step((0.95 - aside) / 0.2)
    film += anatomy.bone * _bones(anatomy, aside, y, column)
    return film


def expose(film: np.ndarray, view: View) -> np.ndarray:
    """Turns attenuation into grey levels of the mean and spread that the view asks for.

    The side marker and the noise come after, as they do not belong to the body.

    Returns:
        uint8[H, W].
    """
    film = film + view.tone * film * (1.0 - film)
    film = (film - film.mean()) * (view.spread / max(float(film.std()), 1e-6)) + view.mean
    # Clipping the black surroundings lifts the mean, by more where the body leaves more of them;
    # one step back keeps the exposure what the view asked for.
    film += view.mean - float(np.clip(film, 0.0, 255.0).mean())
    film += view.noise * view.grain
    image = Image.fromarray(np.clip(film + 0.5, 0.0, 255.0).astype(np.uint8))
    _draw_marker(image, view)
    return np.asarray(image)


def _body(anatomy: Anatomy, aside: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Soft tissue: neck, shoulders, trunk (its thickness falls off like a cylinder's) and arms."""
    half_width = 0.30 + (anatomy.body_width - 0.30) * _step((y + 0.80) / 0.34)
    trunk = np.sqrt(np.clip(1.0 - (aside / half_width) ** 2, 0.0, 1.0))
    arm = _bump(_distance_to_segment(aside, y, (0.82, -0.66), (1.28, 0.05)) / 0.30)
    return anatomy.fat * np.maximum(trunk, 0.55 * np.sqrt(arm))


def _lungs(
    anatomy: Anatomy, x: np.ndarray, aside: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where the lungs are, and what lies below the diaphragm; float32[H, W] in 0..1 each."""
    middle = (anatomy.lung_top + 0.85) / 2.0
    reach = (0.85 - anatomy.lung_top) / 2.0
    across = (aside - 0.44 - 0.05 * y) / anatomy.lung_width
    rim = 1.0 - across**2 - (np.abs(y - middle) / reach) ** 2.5
    # The dome stands higher on the viewer's left, over the liver.
    dome = anatomy.dome + 0.03 * np.sign(x) + 0.9 * np.clip(aside - 0.33, -0.15, 1.0) ** 2
    below = _step((y - dome) / 0.05)
    return _step(rim / 0.28 - 0.4) * (1.0 - below), below


def _heart(anatomy: Anatomy, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    along = (x - anatomy.heart_x) / anatomy.heart_width
    down = (y - anatomy.dome + 0.22) / anatomy.heart_height
    distance = along**2 + down**2 - 0.55 * along * down
    return _step((1.0 - distance) / 0.7)


def _bones(anatomy: Anatomy, aside: np.ndarray, y: np.ndarray, column: np.ndarray) -> np.ndarray:
    cage = (aside / 0.84) ** 2 + (y / 0.92) ** 2
    in_cage = _step((1.0 - cage) / 0.12) * _step((0.75 - y) / 0.4)
    cage_edge = _bump((cage - 0.93) / 0.13) * _step((y + 0.75) / 0.2) * _step((0.70 - y) / 0.4)
    back = (y - 0.55 * (aside - 0.22) ** 2) / anatomy.rib_spacing + anatomy.rib_phase
    front = (y + 0.55 * aside) / (1.25 * anatomy.rib_spacing) + anatomy.rib_phase
    ribs = _stripes(back) + 0.5 * _stripes(front) * _step((aside - 0.45) / 0.2)
    vertebrae = column * (0.20 + 0.05 * np.cos(y * np.float32(2 * np.pi / 0.12)))
    clavicle = _bump(_distance_to_segment(aside, y, (0.10, -0.56), (0.74, -0.76)) / 0.045)
    humerus = _bump(_distance_to_segment(aside, y, (0.86, -0.66), (1.28, 0.05)) / 0.08)
    return (
        anatomy.rib_strength * (ribs * in_cage + 1.4 * cage_edge)
        + vertebrae
        + 0.14 * clavicle
        + 0.16 * humerus
    )


def _stripes(phase: np.ndarray) -> np.ndarray:
    """Soft bands, one each time `phase` goes up by 1, a third of it wide."""
    wave = np.cos(phase * np.float32(2 * np.pi))
    return _step((wave - 0.45) / 0.5)


def _step(t: np.ndarray) -> np.ndarray:
    """0 below 0, 1 above 1, smooth between (three times as fast as a sigmoid)."""
    t = np.clip(t, 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def _bump(t: np.ndarray) -> np.ndarray:
    """1 at 0, falling smoothly to 0 at -1 and 1."""
    t = np.clip(1.0 - t * t, 0.0, 1.0)
    return t * t


def _distance_to_segment(
    x: np.ndarray, y: np.ndarray, start: tuple[float, float], end: tuple[float, float]
) -> np.ndarray:
    run_x, run_y = end[0] - start[0], end[1] - start[1]
    share = ((x - start[0]) * run_x + (y - start[1]) * run_y) / (run_x**2 + run_y**2)
    share = np.clip(share, 0.0, 1.0)
    return np.hypot(x - start[0] - share * run_x, y - start[1] - share * run_y)


def _body_from_pixels(view: View) -> tuple[float, float, float, float, float, float]:
    """The affine map (a, b, c, d, e, f): x = a * column + b * row + c, y = d * column + e * row + f."""
    unit = 2.0 / (view.height * view.scale)  # body units per pixel
    along, across = unit * np.cos(view.rotation), unit * np.sin(view.rotation)
    middle_column, middle_row = (view.width - 1) / 2.0, (view.height - 1) / 2.0
    offset_x = view.shift[0] - along * middle_column - across * middle_row
    offset_y = view.shift[1] + across * middle_column - along * middle_row
    return along, across, offset_x, -across, along, offset_y


def _body_grid(view: View) -> tuple[np.ndarray, np.ndarray]:
    """Body coordinates x and y of each pixel, float32[H, W]."""
    a, b, c, d, e, f = (np.float32(value) for value in _body_from_pixels(view))
    columns: np.ndarray = np.arange(view.width, dtype=np.float32)[None, :]
    rows: np.ndarray = np.arange(view.height, dtype=np.float32)[:, None]
    return a * columns + (b * rows + c), d * columns + (e * rows + f)


def _canvas_grid() -> tuple[np.ndarray, np.ndarray]:
    line = np.linspace(-CANVAS_EXTENT, CANVAS_EXTENT, CANVAS, dtype=np.float32)
    return line[None, :], line[:, None]


def _in_view(texture: np.ndarray, view: View) -> np.ndarray:
    """A texture in body coordinates, float32[CANVAS, CANVAS], seen in a view: float32[H, W]."""
    if not texture.any():
        return np.zeros((view.height, view.width), np.float32)
    a, b, c, d, e, f = _body_from_pixels(view)
    cells = (CANVAS - 1) / (2.0 * CANVAS_EXTENT)  # canvas pixels a body unit
    middle = (CANVAS - 1) / 2.0 + 0.5
    # Pillow maps pixel centres, which lie half a pixel from their indices.
    matrix = (
        cells * a,
        cells * b,
        cells * (c - (a + b) / 2.0) + middle,
        cells * d,
        cells * e,
        cells * (f - (d + e) / 2.0) + middle,
    )
    seen = Image.fromarray(texture).transform(
        (view.width, view.height), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
    )
    return np.asarray(seen)


def _soft_noise(rng: np.random.Generator, *, cells: int) -> np.ndarray:
    """Standard normal values on `cells` x `cells` points, float32[CANVAS, CANVAS] between them."""
    points = Image.fromarray(rng.standard_normal((cells, cells), dtype=np.float32))
    return np.asarray(points.resize((CANVAS, CANVAS), Image.Resampling.BICUBIC))


def _draw_marker(image: Image.Image, view: View) -> None:
    """The letter R in the upper left, as most films carry it."""
    left, top, size = view.marker
    x, y, tall = left * view.width, top * view.height, size * view.height
    wide = 0.6 * tall
    outline = [(0, 1), (0, 0), (0.8, 0), (1, 0.15), (1, 0.35), (0.8, 0.5), (0, 0.5), (1, 1)]
    points = [(x + wide * across, y + tall * down) for across, down in outline]
    ImageDraw.Draw(image).line(points, fill=235, width=max(1, round(tall / 7)))
