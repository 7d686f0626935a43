"""Random people and photographs of them, as records that `draw` turns into images."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeVar, get_args

T = TypeVar("T")
Rgb: TypeAlias = tuple[int, int, int]  # 0 to 255
Glasses = Literal["none", "round", "square", "cat"]
Beard = Literal["none", "stubble", "moustache", "goatee", "full", "long"]
Backdrop = Literal["plain", "sweep", "stripes", "lamps", "shelves", "hills"]
Garment = Literal["round", "collar", "hoop", "roll"]
Occlusion = Literal["none", "hat", "scarf", "leaf"]
Suffix = Literal[".jpg", ".png", ".webp", ".bmp", ".pgm"]

# Formatted by hand: one value a line would be hard to read.
# fmt: off
Hair = Literal["bald", "crop", "parting", "fringe", "long", "curls", "afro", "bun", "quiff", "mohawk", "pigtails", "tufts",
               "spikes", "waves"]
NAMES = ("ari", "bao", "charlie", "dara", "eden", "frankie", "gale", "hollis", "indigo", "jules", "kai", "lou", "mika", "noa",
         "ode", "pax", "quinn", "robin", "sasha", "toni", "uli", "vesper", "wren", "xia", "yuki", "zuri")
SKINS: tuple[Rgb, ...] = (
    (255, 222, 196), (246, 203, 170), (236, 188, 148), (214, 160, 118), (188, 130, 90), (152, 100, 68), (116, 74, 52),
    (92, 58, 42))
HAIR_COLOURS: tuple[Rgb, ...] = (
    (34, 26, 28), (66, 42, 30), (104, 64, 38), (150, 88, 46), (178, 72, 32), (222, 172, 88), (232, 200, 130), (150, 150, 156),
    (214, 210, 208), (46, 108, 124))
IRISES: tuple[Rgb, ...] = ((78, 48, 28), (110, 72, 36), (84, 128, 74), (70, 118, 170), (112, 134, 146), (40, 30, 26))
FRAMES: tuple[Rgb, ...] = ((26, 24, 30), (150, 34, 44), (36, 66, 140), (96, 58, 28), (30, 104, 88))
LIPS: tuple[Rgb, ...] = ((196, 104, 96), (178, 74, 78), (206, 62, 72), (160, 84, 72), (214, 128, 118))
GLASSES: tuple[Glasses, ...] = ("none", "none", "none", "round", "square", "cat")
BEARDS: tuple[Beard, ...] = ("none", "none", "none", "none", "none", "stubble", "moustache", "goatee", "full", "long")
# fmt: on


@dataclass(frozen=True)
class Person:
    """What all images of a person share. Lengths are in units of half the head's height, angles in degrees."""

    skin: Rgb
    head_width: float  # 0.70 to 0.88, half the head's width
    jaw: float  # 0.66 to 0.98, width of the jaw, as a share of head_width
    chin: float  # 0.26 to 0.52, width of the chin, as a share of head_width
    hair: Hair
    hair_colour: Rgb
    hair_volume: float  # 0.75 to 1.3
    parting: int  # -1 or 1, side of the parting
    eye_gap: float  # 0.29 to 0.38, from the middle of the face to an eye
    eye_width: float  # 0.13 to 0.20, half the width of an eye
    eye_height: float  # 0.45 to 0.9, as a share of eye_width
    eye_tilt: float  # -14 to 14, positive lifts the outer corner
    iris: Rgb
    brow_weight: float  # 0.035 to 0.12
    brow_arch: float  # 0 to 0.12
    brow_tilt: float  # -0.1 to 0.1, positive lifts the outer end
    nose_length: float  # 0.26 to 0.42, from the eyes down
    nose_width: float  # 0.08 to 0.19, half its width
    mouth_width: float  # 0.2 to 0.36, half its width
    lips: float  # 0.03 to 0.09, thickness of each lip
    lip_colour: Rgb
    glasses: Glasses
    glasses_colour: Rgb  # also of hair ribbons
    beard: Beard
    freckles: bool
    earrings: bool
    mole: tuple[float, float] | None  # position in face coordinates


@dataclass(frozen=True)
class Photograph:
    """What differs between images of a person, and how the image is stored. Angles are in degrees."""

    width: int  # 128 to 208 pixels
    height: int
    centre: tuple[float, float]  # of the face, as shares of width and height
    scale: float  # 0.28 to 0.38, half the head's height as a share of the shorter side
    roll: float  # -13 to 13, in the image plane
    yaw: float  # -22 to 22, positive to the right
    pitch: float  # -9 to 9, positive looks down
    smile: float  # -0.5 to 1
    mouth_open: float  # 0 to 0.14, in units of half the head's height
    gaze: tuple[float, float]  # -1 to 1 in x and y, direction of view
    blink: float  # 0 open to 1 closed
    light: tuple[float, float]  # -1 to 1 in x and y, direction it comes from
    contrast: float  # 0.1 to 0.45, by how much the shaded side of the face is darker
    exposure: float  # 0.75 to 1.25, factor on the brightness
    cast: tuple[float, float, float]  # 0.75 to 1.25, factors on red, green and blue
    backdrop: Backdrop
    backdrop_colours: tuple[Rgb, Rgb, Rgb]
    garment: Garment
    garment_colours: tuple[Rgb, Rgb]
    occlusion: Occlusion  # object that hides part of the head
    occlusion_colour: Rgb
    blur: float  # 0 to 0.7, radius in pixels
    noise: float  # 0 to 6 of 255, standard deviation
    grain: int  # seed of the noise and of details of backdrop and occlusion
    grey: bool
    suffix: Suffix
    quality: int  # 60 to 95, for JPEG and WebP
    orientation: int  # 1 to 8, EXIF orientation; not 1 in JPEG only


def random_person(seed: int, number: int) -> Person:
    """Person `number`, from 0. Styles are drawn without replacement, so that people of similar numbers look different."""
    rng = random.Random(f"person {seed} {number}")

    def draw(what: str, choices: Sequence[T]) -> T:
        shuffled = list(choices)
        random.Random(f"{what} {seed} {number // len(shuffled)}").shuffle(shuffled)
        return shuffled[number % len(shuffled)]

    between, hair = rng.uniform, draw("hair", get_args(Hair))
    return Person(
        skin=draw("skin", SKINS),
        head_width=between(0.70, 0.88),
        jaw=between(0.66, 0.98),
        chin=between(0.26, 0.52),
        hair=hair,
        hair_colour=draw("hair colour", HAIR_COLOURS),
        hair_volume=between(0.75, 1.3),
        parting=rng.choice((-1, 1)),
        eye_gap=between(0.29, 0.38),
        eye_width=between(0.13, 0.20),
        eye_height=between(0.45, 0.9),
        eye_tilt=between(-14, 14),
        iris=rng.choice(IRISES),
        brow_weight=between(0.035, 0.12),
        brow_arch=between(0, 0.12),
        brow_tilt=between(-0.1, 0.1),
        nose_length=between(0.26, 0.42),
        nose_width=between(0.08, 0.19),
        mouth_width=between(0.2, 0.36),
        lips=between(0.03, 0.09),
        lip_colour=rng.choice(LIPS),
        glasses=draw("glasses", GLASSES),
        glasses_colour=rng.choice(FRAMES),
        beard="none" if hair in ("fringe", "pigtails") else draw("beard", BEARDS),
        freckles=rng.random() < 0.25,
        earrings=rng.random() < 0.3,
        mole=(rng.choice((-1, 1)) * between(0.25, 0.45), between(0.3, 0.5)) if rng.random() < 0.25 else None,
    )


def random_photograph(seed: int, number: int, image: int) -> Photograph:
    """Photograph `image` of person `number`, both from 0; it does not depend on the person's appearance."""
    rng = random.Random(f"photograph {seed} {number} {image}")
    between, pick = rng.uniform, rng.choice

    def colour(low: int = 20, high: int = 245) -> Rgb:
        return (rng.randint(low, high), rng.randint(low, high), rng.randint(low, high))

    width, height = rng.randint(128, 208), rng.randint(128, 208)
    if rng.random() < 0.5:
        height = width
    suffix = rng.choices(get_args(Suffix), weights=(76, 8, 8, 5, 3))[0]
    across, down = min(1, height / width), min(1, width / height)  # keeps the face inside the central square crop
    warmth = between(-0.25, 0.25)
    return Photograph(
        width=width,
        height=height,
        centre=(0.5 + across * between(-0.23, 0.23), 0.52 + down * between(-0.18, 0.18)),
        scale=between(0.28, 0.38),
        roll=between(-13, 13),
        yaw=between(-22, 22),
        pitch=between(-9, 9),
        smile=between(-0.5, 1),
        mouth_open=max(0.0, between(-0.14, 0.14)),
        gaze=(between(-1, 1), between(-1, 1)),
        blink=between(0.85, 1) if rng.random() < 0.06 else between(0, 0.3),
        light=(between(-1, 1), between(-1, 0.5)),
        contrast=between(0.1, 0.45),
        exposure=between(0.75, 1.25),
        cast=(1 + warmth, between(0.9, 1.1), 1 - warmth),
        backdrop=pick(get_args(Backdrop)),
        backdrop_colours=(colour(), colour(), colour()),
        garment=pick(get_args(Garment)),
        garment_colours=(colour(), colour()),
        occlusion=rng.choices(get_args(Occlusion), weights=(91, 3, 3, 3))[0],
        occlusion_colour=colour(),
        blur=between(0, 0.7),
        noise=between(0, 6),
        grain=rng.getrandbits(63),
        grey=suffix == ".pgm" or rng.random() < 0.02,
        suffix=suffix,
        quality=rng.randint(60, 95),
        orientation=rng.randint(2, 8) if suffix == ".jpg" and rng.random() < 0.2 else 1,
    )


def person_name(number: int) -> str:
    """`ari` for 0, `bao` for 1, and so on; `ari2` after the last name."""
    repeat, index = divmod(number, len(NAMES))
    return NAMES[index] + (str(repeat + 1) if repeat else "")
