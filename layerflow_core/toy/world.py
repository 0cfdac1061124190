"""A procedural world whose layers are known exactly: one moving shape over one background.

Ours; it stands in for the layered footage of the paper's section 3.2 wherever truth is needed.
Lengths are in image heights, so that a scene renders alike at any resolution.

Legend: T frames, H height, W width; all pixel values in 0..1, alpha straight with 1 = opaque.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import LayoutError

FRAMES, HEIGHT, WIDTH = 16, 64, 96
FPS = 8

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.90, 0.10, 0.12),
    "orange": (0.98, 0.55, 0.05),
    "yellow": (0.97, 0.92, 0.15),
    "green": (0.10, 0.65, 0.20),
    "cyan": (0.10, 0.85, 0.90),
    "blue": (0.12, 0.22, 0.90),
    "pink": (0.98, 0.45, 0.75),
    "white": (0.97, 0.97, 0.97),
}
MATERIALS: dict[str, float] = {"solid": 1.0, "glass": 0.55}
# Displacement over the whole clip, in image heights; "circling" is an orbit of that radius.
MOTIONS: dict[str, tuple[float, float]] = {
    "moving left": (-0.5, 0.0),
    "moving right": (0.5, 0.0),
    "moving up": (0.0, -0.36),
    "moving down": (0.0, 0.36),
    "circling": (0.1, 0.1),
    "standing still": (0.0, 0.0),
}


def _disc(x: Tensor, y: Tensor, r: float) -> Tensor:
    return torch.hypot(x, y) - r


def _box(x: Tensor, y: Tensor, half_width: float, half_height: float) -> Tensor:
    return torch.maximum(x.abs() - half_width, y.abs() - half_height)


def _triangle(x: Tensor, y: Tensor, r: float) -> Tensor:
    slanted = x.abs() * math.cos(math.pi / 6) - y * math.sin(math.pi / 6)
    return torch.maximum(slanted, y) - 0.6 * r


def _star(x: Tensor, y: Tensor, r: float) -> Tensor:
    sector = math.pi / 5
    angle = torch.remainder(torch.atan2(x, -y) + sector, 2 * sector) - sector
    radius = torch.hypot(x, y)
    px, py = radius * angle.cos(), radius * angle.sin().abs()
    inner_x, inner_y = 0.48 * r * math.cos(sector), 0.48 * r * math.sin(sector)
    edge_x, edge_y = inner_x - 1.1 * r, inner_y
    return ((px - 1.1 * r) * edge_y - py * edge_x) / math.hypot(edge_x, edge_y)


# Signed distance to the outline, negative inside; r is the shape's radius.
SHAPES = {
    "circle": _disc,
    "square": lambda x, y, r: _box(x, y, 0.85 * r, 0.85 * r),
    "triangle": _triangle,
    "star": _star,
    "diamond": lambda x, y, r: (x.abs() + y.abs() - 1.1 * r) / math.sqrt(2),
    "ring": lambda x, y, r: (torch.hypot(x, y) - 0.75 * r).abs() - 0.27 * r,
    "cross": lambda x, y, r: torch.minimum(_box(x, y, r, 0.33 * r), _box(x, y, 0.33 * r, r)),
    "crescent": lambda x, y, r: torch.maximum(_disc(x, y, r), -_disc(x - 0.5 * r, y, 0.85 * r)),
}


def _mix(a: tuple[float, ...], b: tuple[float, ...], weight: Tensor) -> Tensor:
    """[H, W] weight in 0..1 -> [3, H, W] colour between a and b."""
    first, second = (torch.tensor(c)[:, None, None] for c in (a, b))
    return first + (second - first) * weight


def _wave(phase: Tensor, sharpness: float = 4.0) -> Tensor:
    """Periodic 0..1 stripes of period 1 with soft flanks."""
    return torch.sigmoid(sharpness * torch.sin(2 * math.pi * phase))


def _night(x: Tensor, y: Tensor, p: float) -> Tensor:
    moon_x = 0.3 + 0.9 * p
    moon = torch.sigmoid(-40 * (torch.hypot(x - moon_x, y - 0.25) - 0.13))
    sky = _mix((0.02, 0.03, 0.16), (0.10, 0.12, 0.34), y)
    return sky + (torch.tensor((0.95, 0.93, 0.75))[:, None, None] - sky) * moon


# Each draws [3, H, W] from coordinates in heights and a phase in 0..1 that varies from scene to scene.
BACKGROUNDS = {
    "a blue sky": lambda x, y, p: _mix((0.20, 0.45, 0.85), (0.75, 0.88, 0.97), y * (0.8 + 0.3 * p)),
    "an orange sunset": lambda x, y, p: _mix(
        (0.38, 0.12, 0.42), (0.98, 0.60, 0.22), (y * (0.9 + 0.3 * p)).clamp(0, 1)
    ),
    "a green meadow": lambda x, y, p: _mix(
        (0.70, 0.85, 0.92),
        (0.22, 0.48, 0.14),
        torch.sigmoid(30 * (y - 0.35 - 0.2 * p + 0.05 * torch.sin(4 * x + 6 * p))),
    ),
    "a brick wall": lambda x, y, p: _mix(
        (0.55, 0.25, 0.18),
        (0.80, 0.72, 0.64),
        torch.maximum(
            torch.sigmoid(10 * (torch.cos(2 * math.pi * 3 * (y + p)) - 0.7)),
            torch.sigmoid(
                10 * (torch.cos(2 * math.pi * 1.5 * (x + p + torch.floor(3 * (y + p)) / 3)) - 0.9)
            ),
        ),
    ),
    "a checkered floor": lambda x, y, p: _mix(
        (0.22, 0.22, 0.25),
        (0.78, 0.78, 0.80),
        torch.sigmoid(
            12 * torch.sin(2 * math.pi * 2 * (x + p)) * torch.sin(2 * math.pi * 2 * (y + p))
        ),
    ),
    "a purple curtain": lambda x, y, p: _mix(
        (0.28, 0.08, 0.36), (0.60, 0.30, 0.70), _wave(4 * x + p, 2.0)
    ),
    "a sandy desert": lambda x, y, p: _mix(
        (0.76, 0.60, 0.36),
        (0.93, 0.82, 0.58),
        _wave(2.5 * y + 0.8 * torch.sin(2 * x) * 0.4 + p, 2.0),
    ),
    "a night sky": _night,
}


@dataclass(frozen=True)
class Scene:
    """What is to be seen: the words, and the numbers that the words leave open.

    Args:
        shape, colour, material, motion, background: a key of the table of that name.
        x, y: centre of the path, in heights from the top left corner.
        radius: of the shape, in heights.
        phase: of the background's pattern, 0..1.
        turn: start angle of an orbit, radians.
    """

    shape: str
    colour: str
    material: str
    motion: str
    background: str
    x: float
    y: float
    radius: float
    phase: float
    turn: float

    @property
    def foreground_prompt(self) -> str:
        return f"a {self.colour} {self.material} {self.shape} {self.motion}"

    @property
    def background_prompt(self) -> str:
        return self.background

    @property
    def blended_prompt(self) -> str:
        return f"{self.foreground_prompt} in front of {self.background}"

    @property
    def prompts(self) -> dict[str, str]:
        """Per-layer prompts by layer name."""
        return {
            "foreground": self.foreground_prompt,
            "background": self.background_prompt,
            "blended": self.blended_prompt,
        }

    @property
    def held_out(self) -> bool:
        """Whether this (shape, colour, background) is one of the eleventh part that no training sees."""
        s, c, b = (
            list(t).index(k)
            for t, k in (
                (SHAPES, self.shape),
                (COLOURS, self.colour),
                (BACKGROUNDS, self.background),
            )
        )
        return (s + 3 * c + 5 * b) % 11 == 0


@dataclass(frozen=True)
class TrueLayers:
    """The layers of a scene. blended = foreground * alpha + background * (1 - alpha) holds exactly.

    Args:
        foreground: [T, 3, H, W], straight colour; mid grey where nothing is near.
        alpha: [T, 1, H, W].
        background, blended: [T, 3, H, W].
    """

    foreground: Tensor
    alpha: Tensor
    background: Tensor
    blended: Tensor


def draw_scene(seed: int, held_out: bool | None = None) -> Scene:
    """A scene that depends on ``seed`` alone; ``held_out`` True/False keeps to that side of the split.

    Raises:
        LayoutError: the seed is negative.
    """
    if seed < 0:
        raise LayoutError(f"got scene seed {seed}, expected 0 or more")
    rng = random.Random(seed)
    while True:
        scene = _draw(rng)
        if held_out is None or scene.held_out == held_out:
            return scene


def draw_scenes(count: int, first_seed: int, held_out: bool | None = None) -> Iterator[Scene]:
    return (draw_scene(first_seed + i, held_out) for i in range(count))


def _draw(rng: random.Random) -> Scene:
    motion = rng.choice(list(MOTIONS))
    dx, dy = (abs(d) / 2 for d in MOTIONS[motion])
    radius = rng.uniform(0.25, 0.33)
    aspect = WIDTH / HEIGHT
    margin = 0.9 * radius
    return Scene(
        shape=rng.choice(list(SHAPES)),
        colour=rng.choice(list(COLOURS)),
        material=rng.choice(list(MATERIALS)),
        motion=motion,
        background=rng.choice(list(BACKGROUNDS)),
        x=rng.uniform(margin + dx, aspect - margin - dx),
        y=rng.uniform(margin + dy, 1 - margin - dy),
        radius=radius,
        phase=rng.random(),
        turn=rng.uniform(0, 2 * math.pi),
    )


def render(
    scene: Scene, times: Tensor | None = None, height: int = HEIGHT, width: int = WIDTH
) -> TrueLayers:
    """Draw a scene.

    Args:
        times: [T] moments in 0..1 of the clip; by default the 16 evenly spaced ones.
    """
    times = torch.linspace(0, 1, FRAMES) if times is None else times
    y, x = coordinates(height, width)
    background = BACKGROUNDS[scene.background](x, y, scene.phase).clamp(0, 1)
    centres = [_position(scene, float(t)) for t in times]
    pixel = 1.0 / height
    distance = torch.stack(
        [SHAPES[scene.shape](x - cx, y - cy, scene.radius) for cx, cy in centres]
    )[:, None]
    # An edge two pixels wide: soft enough for the VAE, sharp enough to be an outline.
    alpha = (0.5 - distance / (2 * pixel)).clamp(0, 1) * MATERIALS[scene.material]
    shade = torch.stack(
        [1.0 - 0.25 * ((y - cy) / scene.radius).clamp(-1, 1).add(1).div(2) for _, cy in centres]
    )[:, None]
    colour = torch.tensor(COLOURS[scene.colour])[None, :, None, None] * shade
    # Colour reaches past the soft edge, as a compositor's edge extension does.
    foreground = torch.where(distance < 2.5 * pixel, colour, torch.tensor(0.5))
    backgrounds = background.expand(len(centres), -1, -1, -1)
    return TrueLayers(
        foreground, alpha, backgrounds, foreground * alpha + backgrounds * (1 - alpha)
    )


def coordinates(height: int, width: int) -> tuple[Tensor, Tensor]:
    """[H, W] y and x of the pixels' centres, in image heights from the top left corner."""
    return torch.meshgrid(
        (torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / height, indexing="ij"
    )


def _position(scene: Scene, t: float) -> tuple[float, float]:
    dx, dy = MOTIONS[scene.motion]
    if scene.motion == "circling":
        angle = scene.turn + 2 * math.pi * t
        return scene.x + dx * math.cos(angle), scene.y + dy * math.sin(angle)
    return scene.x + dx * (t - 0.5), scene.y + dy * (t - 0.5)
