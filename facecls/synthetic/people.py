"""Invent people and photograph them: a folder of synthetic faces, so that everything can be tried with no data at hand."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeVar, get_args

T = TypeVar("T")
Colour: TypeAlias = tuple[int, int, int]  # red, green, blue, 0 to 255
Hair = Literal[
    "bald",
    "crop",
    "parting",
    "fringe",
    "long",
    "curls",
    "afro",
    "bun",
    "quiff",
    "mohawk",
    "pigtails",
    "tufts",
    "spikes",
    "waves",
]
Glasses = Literal["none", "round", "square", "cat"]
Beard = Literal["none", "stubble", "moustache", "goatee", "full", "long"]
Backdrop = Literal["plain", "sweep", "stripes", "lamps", "shelves", "hills"]
Garment = Literal["round", "collar", "hoop", "roll"]
Cover = Literal["none", "hat", "scarf", "leaf"]
Suffix = Literal[".jpg", ".png", ".webp", ".bmp", ".pgm"]

# A palette a line reads better than a number a line.
# fmt: off
NAMES = ("ari", "bao", "charlie", "dara", "eden", "frankie", "gale", "hollis", "indigo", "jules", "kai", "lou", "mika", "noa",
         "ode", "pax", "quinn", "robin", "sasha", "toni", "uli", "vesper", "wren", "xia", "yuki", "zuri")
SKINS: tuple[Colour, ...] = (
    (255, 222, 196), (246, 203, 170), (236, 188, 148), (214, 160, 118), (188, 130, 90), (152, 100, 68), (116, 74, 52),
    (92, 58, 42))
HAIR_COLOURS: tuple[Colour, ...] = (
    (34, 26, 28), (66, 42, 30), (104, 64, 38), (150, 88, 46), (178, 72, 32), (222, 172, 88), (232, 200, 130), (150, 150, 156),
    (214, 210, 208), (46, 108, 124))
IRISES: tuple[Colour, ...] = ((78, 48, 28), (110, 72, 36), (84, 128, 74), (70, 118, 170), (112, 134, 146), (40, 30, 26))
FRAMES: tuple[Colour, ...] = ((26, 24, 30), (150, 34, 44), (36, 66, 140), (96, 58, 28), (30, 104, 88))
LIPS: tuple[Colour, ...] = ((196, 104, 96), (178, 74, 78), (206, 62, 72), (160, 84, 72), (214, 128, 118))
GLASSES: tuple[Glasses, ...] = ("none", "none", "none", "round", "square", "cat")
BEARDS: tuple[Beard, ...] = ("none", "none", "none", "none", "none", "stubble", "moustache", "goatee", "full", "long")
# fmt: on


@dataclass(frozen=True)
class Person:
    """What stays the same from image to image. Lengths are shares of half a head's height, angles degrees."""

    skin: Colour
    head_width: float  # 0.70 to 0.88, half the head's width
    jaw: float  # 0.66 to 0.98, how wide the jaw is, as a share of head_width
    chin: float  # 0.26 to 0.52, likewise the chin
    hair: Hair
    hair_colour: Colour
    hair_volume: float  # 0.75 to 1.3
    parting: int  # -1 or 1, the side to which hair falls
    eye_gap: float  # 0.29 to 0.38, from the middle to an eye
    eye_width: float  # 0.13 to 0.20, half an eye
    eye_height: float  # 0.45 to 0.9 of eye_width
    eye_tilt: float  # -14 to 14, positive lifts the outer corner
    iris: Colour
    brow_weight: float  # 0.035 to 0.12
    brow_arch: float  # 0 to 0.12
    brow_tilt: float  # -0.1 to 0.1, positive lifts the outer end
    nose_length: float  # 0.26 to 0.42, from the eyes down
    nose_width: float  # 0.08 to 0.19, half the nose
    mouth_width: float  # 0.2 to 0.36, half the mouth
    lips: float  # 0.03 to 0.09, how full each lip is
    lip_colour: Colour
    glasses: Glasses
    glasses_colour: Colour  # also of a hair ribbon
    beard: Beard
    freckles: bool
    earrings: bool
    mole: tuple[float, float] | None  # where on the face


@dataclass(frozen=True)
class Photograph:
    """What differs from image to image, and how the image is kept in its file. Angles are degrees."""

    width: int  # 128 to 208 pixels
    height: int
    centre: tuple[float, float]  # of the face, as shares of width and height
    scale: float  # 0.28 to 0.38, half the head's height as a share of the shorter side
    roll: float  # -13 to 13, in the image's plane
    turn: float  # -22 to 22, positive to the right
    nod: float  # -9 to 9, positive looks down
    smile: float  # -0.5 to 1
    mouth_open: float  # 0 to 0.14 of half the head's height
    gaze: tuple[float, float]  # -1 to 1, where the eyes look
    blink: float  # 0 open to 1 closed
    light: tuple[float, float]  # -1 to 1 in x and y, where it comes from
    contrast: float  # 0.1 to 0.45, how much darker the far side of the face is
    exposure: float  # 0.75 to 1.25, times the brightness
    cast: tuple[float, float, float]  # 0.75 to 1.25, gains of red, green and blue
    backdrop: Backdrop
    backdrop_colours: tuple[Colour, Colour, Colour]
    garment: Garment
    garment_colours: tuple[Colour, Colour]
    cover: Cover  # what hides a part of the head
    cover_colour: Colour
    blur: float  # 0 to 0.7 pixels, the radius
    noise: float  # 0 to 6 of 255, the standard deviation
    grain: int  # the seed of noise and of details in front and behind
    grey: bool
    suffix: Suffix
    quality: int  # 60 to 95, of JPEG and WebP
    orientation: int  # 1 to 8, the EXIF tag that turns the stored pixels upright; other than 1 in JPEG only


def invent_person(seed: int, number: int) -> Person:
    """The person with this number, counted from 0; styles are dealt like cards, so that neighbours differ at first sight."""
    chance = random.Random(f"person {seed} {number}")

    def deal(what: str, cards: Sequence[T]) -> T:
        deck = list(cards)
        random.Random(f"{what} {seed} {number // len(deck)}").shuffle(deck)
        return deck[number % len(deck)]

    between, hair = chance.uniform, deal("hair", get_args(Hair))
    return Person(
        skin=deal("skin", SKINS),
        head_width=between(0.70, 0.88),
        jaw=between(0.66, 0.98),
        chin=between(0.26, 0.52),
        hair=hair,
        hair_colour=deal("hair colour", HAIR_COLOURS),
        hair_volume=between(0.75, 1.3),
        parting=chance.choice((-1, 1)),
        eye_gap=between(0.29, 0.38),
        eye_width=between(0.13, 0.20),
        eye_height=between(0.45, 0.9),
        eye_tilt=between(-14, 14),
        iris=chance.choice(IRISES),
        brow_weight=between(0.035, 0.12),
        brow_arch=between(0, 0.12),
        brow_tilt=between(-0.1, 0.1),
        nose_length=between(0.26, 0.42),
        nose_width=between(0.08, 0.19),
        mouth_width=between(0.2, 0.36),
        lips=between(0.03, 0.09),
        lip_colour=chance.choice(LIPS),
        glasses=deal("glasses", GLASSES),
        glasses_colour=chance.choice(FRAMES),
        beard="none" if hair in ("fringe", "pigtails") else deal("beard", BEARDS),
        freckles=chance.random() < 0.25,
        earrings=chance.random() < 0.3,
        mole=(chance.choice((-1, 1)) * between(0.25, 0.45), between(0.3, 0.5)) if chance.random() < 0.25 else None,
    )


def take_photograph(seed: int, number: int, image: int) -> Photograph:
    """The circumstances of a person's image, both counted from 0; they tell nothing about who is in it."""
    chance = random.Random(f"photograph {seed} {number} {image}")
    between, pick = chance.uniform, chance.choice

    def colour(low: int = 20, high: int = 245) -> Colour:
        return (chance.randint(low, high), chance.randint(low, high), chance.randint(low, high))

    width, height = chance.randint(128, 208), chance.randint(128, 208)
    if chance.random() < 0.5:
        height = width
    suffix = chance.choices(get_args(Suffix), weights=(76, 8, 8, 5, 3))[0]
    across, down = min(1, height / width), min(1, width / height)  # stays in the middle square, which a square crop keeps
    warmth = between(-0.25, 0.25)
    return Photograph(
        width=width,
        height=height,
        centre=(0.5 + across * between(-0.23, 0.23), 0.52 + down * between(-0.18, 0.18)),
        scale=between(0.28, 0.38),
        roll=between(-13, 13),
        turn=between(-22, 22),
        nod=between(-9, 9),
        smile=between(-0.5, 1),
        mouth_open=max(0.0, between(-0.14, 0.14)),
        gaze=(between(-1, 1), between(-1, 1)),
        blink=between(0.85, 1) if chance.random() < 0.06 else between(0, 0.3),
        light=(between(-1, 1), between(-1, 0.5)),
        contrast=between(0.1, 0.45),
        exposure=between(0.75, 1.25),
        cast=(1 + warmth, between(0.9, 1.1), 1 - warmth),
        backdrop=pick(get_args(Backdrop)),
        backdrop_colours=(colour(), colour(), colour()),
        garment=pick(get_args(Garment)),
        garment_colours=(colour(), colour()),
        cover=chance.choices(get_args(Cover), weights=(91, 3, 3, 3))[0],
        cover_colour=colour(),
        blur=between(0, 0.7),
        noise=between(0, 6),
        grain=chance.getrandbits(63),
        grey=suffix == ".pgm" or chance.random() < 0.02,
        suffix=suffix,
        quality=chance.randint(60, 95),
        orientation=chance.randint(2, 8) if suffix == ".jpg" and chance.random() < 0.2 else 1,
    )


def name_person(number: int) -> str:
    """`ari` for 0, `bao` for 1, ... and, once the names are used up, `ari2`."""
    turn, place = divmod(number, len(NAMES))
    return NAMES[place] + (str(turn + 1) if turn else "")
