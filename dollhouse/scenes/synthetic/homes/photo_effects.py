"""What a phone's camera does to a rendered picture: exposure, white balance, lens, sensor noise and JPEG."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import convolve1d, gaussian_filter

from dollhouse.scenes.synthetic.homes.textures import Floats, Generator


@dataclass(frozen=True)
class PhotoEffects:
    """Settings of a camera; geometry is not changed."""

    exposure: float = 0.0  #: stops beside the automatic exposure
    balance: float = 0.0  #: share of the picture's mean tint that is removed
    warmth: float = 0.0  #: red over blue
    contrast: float = 0.5  #: from a flat curve (0) to a steep one (1)
    saturation: float = 1.0
    vignetting: float = 0.0  #: share of light lost in the corners
    glare: float = 0.0  #: share of light above white that spreads
    blur: float = 0.0  #: standard deviation in pixels
    motion: tuple[float, float] = (0.0, 0.0)  #: pixels right and down
    sharpening: float = 0.0
    noise: float = 0.0  #: standard deviation at middle grey, sRGB
    jpeg_quality: int = 0  #: 0: no compression


def sample_effects(rng: Generator) -> PhotoEffects:
    """Sample the settings of one photo."""
    moved = rng.random() < 0.1
    motion = rng.uniform(-2.5, 2.5, 2) if moved else np.zeros(2)
    return PhotoEffects(
        exposure=float(np.clip(0.45 * rng.standard_normal() - 0.15, -1.2, 0.8)),
        balance=float(rng.uniform(0.2, 0.95)),
        warmth=float(0.02 + 0.06 * rng.standard_normal()),
        contrast=float(rng.uniform(0.1, 0.9)),
        saturation=float(rng.uniform(0.7, 1.1)),
        vignetting=float(rng.uniform(0, 0.25)),
        glare=float(rng.uniform(0.02, 0.12)),
        blur=float(rng.uniform(0.2, 0.8)) if rng.random() < 0.25 else 0.0,
        motion=(float(motion[0]), float(motion[1])),
        sharpening=float(rng.uniform(0.2, 0.9)) if rng.random() < 0.6 else 0.0,
        noise=float(rng.choice([0.003, 0.008, 0.02, 0.035], p=[0.4, 0.35, 0.18, 0.07])),
        jpeg_quality=int(rng.integers(55, 97)),
    )


def apply_effects(radiance: Floats, effects: PhotoEffects, rng: Generator) -> NDArray[np.uint8]:
    """Develop linear radiance (H, W, 3) to an sRGB photo (H, W, 3)."""
    height, width = radiance.shape[:2]
    lightness = radiance @ np.array([0.25, 0.65, 0.1], np.float32)
    key = float(np.exp(np.log(np.clip(lightness, 1e-3, np.quantile(lightness, 0.9) + 1e-3)).mean()))
    light = radiance * np.float32(0.23 * 2**effects.exposure / key)
    visible = np.minimum(light, 1.0).reshape(-1, 3).mean(0) + 1e-4
    gains = (visible.mean() / visible) ** effects.balance * np.array([1 + effects.warmth, 1, 1 - effects.warmth])
    light = light * gains.astype(np.float32)
    if effects.glare:
        excess = np.clip(light - 1, 0, 6)[::4, ::4]
        if excess.any():
            spread = gaussian_filter(excess, (0.008 * width, 0.008 * width, 0))
            light = light + effects.glare * np.repeat(np.repeat(spread, 4, 0), 4, 1)[:height, :width]
    if effects.vignetting:
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        corner = ((x + 0.5) / width - 0.5) ** 2 + ((y + 0.5) / height - 0.5) ** 2
        light = light * (1 - effects.vignetting * 2 * corner[..., None])
    srgb = _curve(light, effects.contrast)
    grey = srgb.mean(2, keepdims=True)
    srgb = grey + effects.saturation * (srgb - grey)
    if effects.blur:
        srgb = gaussian_filter(srgb, (effects.blur, effects.blur, 0))
    if effects.motion != (0.0, 0.0):
        srgb = _move(srgb, effects.motion)
    if effects.sharpening:
        srgb = srgb + effects.sharpening * (srgb - gaussian_filter(srgb, (0.9, 0.9, 0)))
    if effects.noise:
        fine = rng.standard_normal(srgb.shape, dtype=np.float32)
        srgb = srgb + effects.noise * fine * (1.3 - 0.8 * np.clip(srgb, 0, 1))
    photo = (np.clip(srgb, 0, 1) * 255 + 0.5).astype(np.uint8)
    if not effects.jpeg_quality:
        return photo
    data = io.BytesIO()
    Image.fromarray(photo).save(data, "JPEG", quality=effects.jpeg_quality)
    return np.asarray(Image.open(data).convert("RGB"))


def _curve(light: Floats, contrast: float) -> Floats:
    """Map linear light to sRGB with a soft shoulder; ``contrast`` mixes in a film-like curve."""
    light = np.clip(light, 0, 30)
    light = light + 0.3 * np.maximum(light - 1, 0).mean(2, keepdims=True)  # what is overexposed turns white
    soft = light * (1 + light / 9) / (1 + light)
    soft = 1.25 * soft / (1 + 0.25 * soft)
    film = np.clip(light * (2.51 * light + 0.03) / (light * (2.43 * light + 0.59) + 0.14), 0, 1)
    mixed = np.clip((1 - contrast) * soft + contrast * film, 0, 1)
    return np.where(mixed <= 0.0031308, 12.92 * mixed, 1.055 * mixed ** np.float32(1 / 2.4) - 0.055).astype(np.float32)


def _move(picture: Floats, motion: tuple[float, float]) -> Floats:
    """Blur along the picture's rows and columns, by the two lengths of a movement."""
    for axis, length in ((1, abs(motion[0])), (0, abs(motion[1]))):
        if length > 0.3:
            kernel = np.clip(0.5 * length + 0.5 - np.abs(np.arange(-3, 4)), 0, 1)
            picture = convolve1d(picture, kernel / kernel.sum(), axis=axis, mode="nearest")
    return picture
