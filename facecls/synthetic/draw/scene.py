"""Backdrop, clothes, occlusion, and the light, blur and noise of the photograph."""

import math

import numpy as np
from PIL import Image, ImageFilter

from facecls.synthetic.draw.brush import INK, OVERSAMPLING, WHITE, Brush, Pose, ellipse, mix, shaded_skin, smooth, symmetric
from facecls.synthetic.people import Person, Photograph


def draw_backdrop(brush: Brush, photograph: Photograph, rng: np.random.Generator) -> None:
    first, second, _ = photograph.backdrop_colours
    width, height, pixels = brush.width, brush.height, brush.pixels
    pixels.rectangle((0, 0, width, height), fill=first)
    if photograph.backdrop == "sweep":
        for i in range(32):
            pixels.rectangle((0, height * i / 32, width, height * (i + 1) / 32), fill=mix(first, second, i / 31))
    elif photograph.backdrop == "stripes":
        step, slant = width / rng.uniform(5, 11), rng.uniform(-0.6, 0.6) * height
        for i in range(-12, 24):
            x = i * 2 * step
            pixels.polygon([(x, 0), (x + step, 0), (x + step + slant, height), (x + slant, height)], fill=second)
    scene = {"lamps": draw_lamps, "shelves": draw_shelves, "hills": draw_hills}.get(photograph.backdrop)
    if scene:
        scene(brush, photograph, rng)


def draw_lamps(brush: Brush, photograph: Photograph, rng: np.random.Generator) -> None:
    for x, y, size, pick in rng.random((26, 4)).tolist():
        centre_x, centre_y, radius = x * brush.width, y * brush.height, brush.width * (0.03 + 0.1 * size)
        box = (centre_x - radius, centre_y - radius, centre_x + radius, centre_y + radius)
        brush.pixels.ellipse(box, fill=(*photograph.backdrop_colours[1 if pick < 0.5 else 2], 110))


def draw_shelves(brush: Brush, photograph: Photograph, rng: np.random.Generator) -> None:
    width, height, pixels, colours = brush.width, brush.height, brush.pixels, photograph.backdrop_colours
    for row in range(5):
        x, bottom = 0.0, height * (row + 1) / 5
        while x < width:
            thick, tall = width * rng.uniform(0.03, 0.08), height * rng.uniform(0.1, 0.17)
            book = mix(colours[int(rng.integers(3))], INK, rng.uniform(0, 0.45))
            pixels.rectangle((x, bottom - tall, x + thick, bottom), fill=book)
            x += thick + width * 0.006
        board = mix(colours[2], INK, 0.5)
        pixels.rectangle((0, bottom - height * 0.012, width, bottom + height * 0.012), fill=board)


def draw_hills(brush: Brush, photograph: Photograph, rng: np.random.Generator) -> None:
    width, height, (_, near, far) = brush.width, brush.height, photograph.backdrop_colours
    sun, radius = rng.uniform(0, 1) * width, width * 0.1
    brush.pixels.ellipse((sun - radius, height * 0.08, sun + radius, height * 0.08 + 2 * radius), fill=(255, 236, 170))
    x = np.linspace(0, width, 40)
    for colour, top in ((near, 0.5), (mix(near, far, 0.6), 0.66), (far, 0.8)):
        ridge = height * (top + 0.07 * np.sin(x / width * rng.uniform(3, 9) + rng.uniform(0, 6)))
        crest = zip(x.tolist(), ridge.tolist(), strict=True)
        brush.pixels.polygon([(0, height), *crest, (width, height)], fill=colour)


def draw_body(brush: Brush, person: Person, photograph: Photograph) -> None:
    body, (cloth, trim), n = brush.pose.on_body, photograph.garment_colours, 0.5 * person.head_width  # n: half the neck
    brush.fill(np.asarray([(-n, 0.4), (n, 0.4), (n * 1.1, 1.5), (-n * 1.1, 1.5)]), shaded_skin(person, 0.08), body)
    brush.blob(0, 0.86, n * 1.1, 0.42, shaded_skin(person, 0.3), body)  # shadow of the chin
    shoulders = [(0, 1.5), (n * 0.8, 1.42), (n * 1.15, 1.24), (1.1, 1.5), (1.5, 1.85), (1.75, 2.6), (2.4, 5), (0, 5)]
    brush.fill(symmetric(shoulders), cloth, body)
    if photograph.garment == "round":
        neckline = [(-n * 1.2, 1.22), (-n * 0.8, 1.44), (0, 1.52), (n * 0.8, 1.44), (n * 1.2, 1.22)]
        brush.stroke(smooth(neckline), 0.08, trim, body)
    elif photograph.garment == "collar":
        for side in (-1, 1):
            wing = np.asarray([(n * 1.25, 1.12), (0, 1.55), (0.38, 1.86), (n * 1.75, 1.3)])
            brush.fill(wing * (side, 1), trim, body)
    elif photograph.garment == "hoop":
        for y in (1.75, 2.15, 2.55, 2.95):
            brush.stroke(smooth([(-1.75, y + 0.1), (0, y), (1.75, y + 0.1)]), 0.16, trim, body)
    elif photograph.garment == "roll":
        brush.fill(ellipse(0, 1.27, n * 1.22, 0.22, power=0.6), mix(cloth, INK, 0.18), body)
        brush.stroke(smooth([(-n * 1.15, 1.2), (0, 1.28), (n * 1.15, 1.2)]), 0.03, mix(cloth, INK, 0.4), body)


def draw_occlusion(brush: Brush, person: Person, photograph: Photograph, rng: np.random.Generator) -> None:
    pose, w = brush.pose, person.head_width * 1.1
    colour, dark = photograph.occlusion_colour, mix(photograph.occlusion_colour, INK, 0.3)
    if photograph.occlusion == "hat":
        brush.blob(0, -1.52, 0.17, 0.16, mix(colour, WHITE, 0.5), pose.on_rim)
        crown = [(0, -1.42), (0.5, -1.32), (0.95, -0.9), (1.06, -0.5), (0, -0.44)]
        brim = [(0, -0.72), (0.6, -0.7), (1.05, -0.66), (1.1, -0.45), (0.6, -0.46), (0, -0.44)]
        brush.fill(symmetric(crown) * (w, 1), colour, pose.on_rim)
        brush.fill(symmetric(brim) * (w, 1), dark, pose.on_rim)
    elif photograph.occlusion == "scarf":
        wrap = [(0, 0.78), (0.6, 0.72), (1.08, 0.62), (1.16, 1.1), (0.9, 1.5), (0, 1.6)]
        brush.fill(symmetric(wrap) * (w, 1), colour, pose.on_body)
        for y in (0.95, 1.2):
            brush.stroke(smooth([(-1.08 * w, y - 0.1), (0, y + 0.04), (1.08 * w, y - 0.1)]), 0.06, dark, pose.on_body)
    elif photograph.occlusion == "leaf":
        stem = np.asarray((float(rng.choice([-1.5, 1.5])), rng.uniform(1.5, 2.0)))
        for angle in rng.uniform(-0.5, 0.9, size=5).tolist():
            tip = stem - 1.15 * np.asarray((math.copysign(math.cos(angle), stem[0]), math.sin(angle)))
            middle, bulge = (stem + tip) / 2, np.asarray((0, 0.17))
            leaf = smooth(np.stack([stem, middle + bulge, tip, middle - bulge]), closed=True)
            brush.fill(leaf, mix(colour, (40, 120, 60), rng.uniform(0.5, 0.9)), pose.on_body)


def develop(image: Image.Image, photograph: Photograph, pose: Pose, rng: np.random.Generator) -> Image.Image:
    """Lights the head as an ellipsoid from one direction, then applies colour cast, blur and noise."""
    y, x = np.mgrid[0 : image.height, 0 : image.width].astype(np.float32)
    u = (x * OVERSAMPLING - pose.x) / (pose.unit * pose.half_width)
    v = (y * OVERSAMPLING - pose.y) / pose.unit
    radius = np.sqrt(u**2 + v**2) + 1e-6
    slope = np.minimum(1 / radius, 1) * np.exp(-0.8 * np.maximum(radius - 1, 0))  # outside the head it fades
    lit = (u * photograph.light[0] + v * photograph.light[1]) * slope
    shade = photograph.exposure * (1 + photograph.contrast * (0.9 * lit - 0.25 * np.minimum(radius, 1) ** 2))
    values = np.asarray(image, dtype=np.float32) * shade[..., None] * np.asarray(photograph.cast, dtype=np.float32)
    values = 255 * (1 - np.exp(-1.1 * values / 255)) / (1 - math.exp(-1.1))  # compresses highlights instead of clipping them
    sharp = Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))
    soft = np.asarray(sharp.filter(ImageFilter.GaussianBlur(photograph.blur)))
    noise = rng.standard_normal((image.height, image.width, 3), dtype=np.float32) * photograph.noise
    developed = Image.fromarray(np.clip(soft + noise, 0, 255).astype(np.uint8))
    return developed.convert("L") if photograph.grey else developed
