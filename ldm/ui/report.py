"""What a round trip cost, in numbers: for the page and for programs."""

import math
from pathlib import Path
from typing import Any

from ..roundtrip import RoundTrip
from ..views.latents import ERROR_RANGE
from . import files


def metrics(trip: RoundTrip) -> dict[str, Any]:
    """The numbers of a round trip, of plain JSON types; the PSNR of equal pictures is None."""
    return {
        "psnr": trip.psnr if math.isfinite(trip.psnr) else None,
        "ssim": trip.ssim,
        "mae": trip.mae,
        "width": trip.original.width,
        "height": trip.original.height,
        "latents": list(trip.latents.shape),
        "seconds": trip.seconds,
        "note": trip.note,
    }


def report_value(trip: RoundTrip, error: Path, channels: Path) -> dict[str, Any]:
    """What the report shows.

    Args:
        error, channels: the maps, as files.
    """
    latents = " x ".join(map(str, trip.latents.shape[1:]))
    psnr = f"{trip.psnr:.2f} dB" if math.isfinite(trip.psnr) else "equal"
    return {
        "numbers": [
            {"name": "PSNR", "value": psnr, "hint": "peak signal to noise; higher is closer"},
            {"name": "SSIM", "value": f"{trip.ssim:.4f}", "hint": "structural similarity; 1 is equal"},
            {"name": "Mean error", "value": f"{trip.mae:.2f}", "hint": "of 255 levels"},
            {"name": "Latents", "value": latents, "hint": "channels, height, width"},
        ],
        "note": trip.note or "The picture fitted as it was.",
        "error": {"file": files.served(error), "range": f"{ERROR_RANGE:g}"},
        "channels": {"file": files.served(channels)},
        "statistics": trip.statistics,
    }
