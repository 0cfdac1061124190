"""Footage of any size and length through a model that takes one size and one length.

Legend: N frames, H height, W width; 0..1, straight colour, alpha 1 = opaque.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from .errors import FrameError
from .familiarity import warn_of_footage, warn_of_prompts
from .layers import LayerVideo
from .layout import ALPHA, BLENDED, FOREGROUND, PIXELS_PER_LATENT, Layout
from .matching import hold_stills, match_matte
from .model.loading import LayerFlowModel
from .pipeline import Host, Observer, Run, check_run, layout_for, make_checked_layers
from .rgba import from_grey, shown_over_grey
from .video.frames import Fit, Windows, check_frames, first_frames, pick_frames, spread_frames

# (frames there are, frames wanted) -> frame numbers; "exact" takes them as they are and refuses any other count
TIMINGS: Mapping[str, Callable[[int, int], list[int]]] = {
    "first": first_frames,
    "spread": spread_frames,
    "official": pick_frames,
    "exact": first_frames,
}


def decompose(
    model: LayerFlowModel,
    frames: Tensor,
    run: Run,
    fps: float | None = None,
    fit: str = "pad",
    overlap: int = 4,
    host: Host = Host(),
) -> LayerVideo:
    """Decompose a video.

    Long videos run window by window and are cross-faded where windows overlap; the blended layer that comes back is
    the footage itself, untouched.

    Args:
        frames: [N, 3, H, W], any size, 2 frames or more.
        run: prompts, settings and seed; its ``given`` is left empty.
        fps: of the footage; None takes the model's own.
        fit: one of ``FITS``.
        overlap: frames shared by neighbouring windows.

    Returns:
        Layers of exactly the footage's size and length.

    Raises:
        LayerFlowError: something does not fit; before any long work starts.
    """
    check_frames(frames, "video")
    layout = layout_for(model, {BLENDED: frames})
    size = Fit(tuple(frames.shape[2:]), *model.frame_size, fit)
    windows = Windows(len(frames), layout.clip_pixel_frames, overlap)

    def window_run(number: int, window: Tensor) -> Run:
        return replace(run, given={BLENDED: size.apply(window)}, window=number)

    # All windows are of one size and length, so what holds for the first holds for all.
    check_run(model, window_run(0, next(windows.cut(frames))), host)
    if host.group.is_first:
        warn_of_prompts(model, layout, run.prompts)
        warn_of_footage(model, layout, {BLENDED: size.apply(_middle_of(frames))}, host.devices)

    made = []
    for number, window in enumerate(windows.cut(frames)):
        observer = WindowObserver(host.observer, number, len(windows.starts))
        watched = replace(host, observer=observer)
        made.append(make_checked_layers(model, layout, window_run(number, window), watched))

    layers = _resample(made, windows.merge)
    if size.source_size != (size.height, size.width):
        layers = _resample([layers], lambda parts: size.undo(parts[0]))
    return replace(layers, blended=frames, fps=fps or model.config.fps)


def _middle_of(frames: Tensor) -> Tensor:
    """As many frames as one latent frame stands for: long footage need not be fitted twice."""
    start = max(0, (len(frames) - PIXELS_PER_LATENT) // 2)
    return frames[start : start + PIXELS_PER_LATENT]


def _resample(videos: list[LayerVideo], change: Callable[[list[Tensor]], Tensor]) -> LayerVideo:
    """Mix or resize layers. Colour goes through it premultiplied, or edges would take on the colour beyond them."""
    first = videos[0]
    foregrounds = []
    for number, layer in enumerate(first.foregrounds):
        alpha = change([v.foregrounds[number].opacity for v in videos])
        layers = [video.foregrounds[number] for video in videos]
        grey = change([shown_over_grey(each.colour, each.opacity) for each in layers])
        colour = from_grey(grey * 2 - 1, alpha)
        foregrounds.append(
            replace(layer, colour=colour, alpha=None if layer.alpha is None else alpha)
        )
    background = None if first.background is None else change([v.background for v in videos])
    blended = None if first.blended is None else change([v.blended for v in videos])
    return replace(first, foregrounds=tuple(foregrounds), background=background, blended=blended)


@dataclass
class WindowObserver:
    """Shows the steps of one of several windows as a part of the whole."""

    inner: Observer
    number: int
    windows: int

    def stage(self, name: str) -> None:
        self.inner.stage(name)

    def step(self, done: int, total: int, preview: Callable[[], Tensor]) -> None:
        self.inner.step(self.number * total + done, self.windows * total, preview)


def to_condition(
    layout: Layout, name: str, colour: Tensor, alpha: Tensor | None
) -> dict[str, Tensor]:
    """A layer that is given, as the clips that a layout has for it.

    Args:
        colour: [N, 3, H, W]; alpha: [N, 1, H, W] of a foreground; either may be a still. Where the layout has no alpha
            clip, the foreground is shown to the model as it was trained: over mid grey.

    Raises:
        FrameError: the layout wants an alpha and there is none, or it does not fit the colour.
    """
    matte = layout.alpha_of(name) if layout.clip(name).kind == FOREGROUND else None
    if matte is None and (alpha is None or layout.clip(name).kind != FOREGROUND):
        return {name: colour}
    if alpha is None:
        raise FrameError(
            f"the given {name!r} has no alpha, layout {layout.name!r} expects one: give its "
            "matte too, or colour with an alpha channel"
        )
    colour, alpha = match_matte(colour, alpha)
    if matte is None:
        return {name: shown_over_grey(colour, alpha)}
    return {name: colour, matte.name: alpha}


@dataclass(frozen=True)
class Condition:
    """A layer that is given, and how it is brought to the model's size and length.

    Args:
        name: of its clip.
        colour: [N, 3, H, W], 0..1 straight, any size; one frame is a still.
        alpha: [N, 1, H, W] of a foreground.
        fit: one of ``FITS``.
        timing: key of ``TIMINGS``, see ``fit_given``.
    """

    name: str
    colour: Tensor
    alpha: Tensor | None = None
    fit: str = "cover"
    timing: str = "first"


def add_condition(conditions: Sequence[Condition], one: Condition) -> tuple[Condition, ...]:
    """One layer more that is given; raises FrameError if it is given already."""
    if any(known.name == one.name for known in conditions):
        raise FrameError(
            f"got the layer {one.name!r} twice, expected every given layer once: "
            "choose another layer for one of the two"
        )
    return (*conditions, one)


def fit_conditions(
    model: LayerFlowModel, conditions: Sequence[Condition], host: Host = Host()
) -> dict[str, Tensor]:
    """Given layers as the clips of a run, each fitted as it asks; warns as ``fit_given`` does.

    Raises:
        LayoutError: the checkpoint was not trained for this task, or has no such layer.
        FrameError: a foreground without the alpha that the layout wants, or frames that do not fit.
    """
    clips = [
        to_condition(model.config.layout, one.name, one.colour, one.alpha) for one in conditions
    ]
    layout = layout_for(model, [name for named in clips for name in named])
    fitted: dict[str, Tensor] = {}
    for one, named in zip(conditions, clips):
        fitted |= _fit_together(model, layout, named, one.fit, one.timing)
    if host.group.is_first:
        warn_of_footage(model, layout, fitted, host.devices)
    return fitted


def fit_given(
    model: LayerFlowModel,
    layers: Mapping[str, Tensor],
    fit: str = "cover",
    timing: str = "first",
    host: Host = Host(),
) -> dict[str, Tensor]:
    """Bring given layers to the model's size and length; warns of footage that the model cannot know.

    Args:
        layers: by layer name, [N, 3, H, W] or alpha [N, 1, H, W]; all of one size and length, or stills.
        timing: key of ``TIMINGS``: ``first`` takes the first frames and holds the last of a short video, ``spread``
            picks evenly over all of it, ``official`` is the official data reader's choice (the first frame twice),
            ``exact`` refuses any other length. A still is held, whatever the timing.

    Raises:
        FrameError: layers of different size or length, or a length that ``exact`` does not allow.
    """
    layout = layout_for(model, layers)
    fitted = _fit_together(model, layout, layers, fit, timing)
    if host.group.is_first:
        warn_of_footage(model, layout, fitted, host.devices)
    return fitted


def _fit_together(
    model: LayerFlowModel, layout: Layout, layers: Mapping[str, Tensor], fit: str, timing: str
) -> dict[str, Tensor]:
    """Layers of one size and length to the model's."""
    if timing not in TIMINGS:
        raise FrameError(f"got unknown timing {timing!r}, expected one of {', '.join(TIMINGS)}")
    for name, pixels in layers.items():
        check_frames(pixels, name, channels=1 if layout.clip(name).kind == ALPHA else 3, fewest=1)
    layers = hold_stills(layers)
    shapes = {name: (p.shape[0], *p.shape[2:]) for name, p in layers.items()}
    if len(set(shapes.values())) > 1:
        raise FrameError(
            f"got given layers of different frames, height, width: {shapes}; expected all alike"
        )
    wanted = layout.clip_pixel_frames
    return {
        name: _fit_size(_fit_length(pixels, wanted, timing, name), model, fit)
        for name, pixels in layers.items()
    }


def _fit_length(pixels: Tensor, wanted: int, timing: str, name: str) -> Tensor:
    if len(pixels) == 1:
        return pixels.expand(wanted, -1, -1, -1)
    if timing == "exact" and len(pixels) != wanted:
        raise FrameError(
            f"given layer {name!r} has {len(pixels)} frames, expected exactly {wanted}"
        )
    return pixels[TIMINGS[timing](len(pixels), wanted)]


def _fit_size(pixels: Tensor, model: LayerFlowModel, fit: str) -> Tensor:
    return Fit(tuple(pixels.shape[2:]), *model.frame_size, fit).apply(pixels)
