"""What a round trip cost, in numbers: for the page and for programs."""

import math
from pathlib import Path
from typing import Any

from ..roundtrip import Codes, RoundTrip
from ..views.latents import ERROR_RANGE
from . import files

PIXEL_BITS = 24  # red, green and blue, 8 each


def metrics(trip: RoundTrip) -> dict[str, Any]:
    """The numbers of a round trip, of plain JSON types; the PSNR of equal pictures is None."""
    codes = trip.codes
    return {
        "first_stage": trip.name,
        "psnr": trip.psnr if math.isfinite(trip.psnr) else None,
        "ssim": trip.ssim,
        "mae": trip.mae,
        "width": trip.original.width,
        "height": trip.original.height,
        "latents": list(trip.latents.shape),
        "seconds": trip.seconds,
        "note": trip.note,
        "codes": None
        if codes is None
        else {
            "used": codes.used,
            "total": codes.total,
            "perplexity": codes.perplexity,
            "bits": codes.bits,
            "indices": codes.indices.tolist(),
        },
    }


def report_value(trip: RoundTrip, error: Path, channels: Path, codes: Path | None) -> dict[str, Any]:
    """What the report shows.

    Args:
        error, channels, codes: the maps, as files; the last one only of a VQ first stage.
    """
    latents = " x ".join(map(str, trip.latents.shape[1:]))
    psnr = f"{trip.psnr:.2f} dB" if math.isfinite(trip.psnr) else "equal"
    return {
        "numbers": [
            {"name": "PSNR", "value": psnr, "hint": "peak signal to noise; higher is closer"},
            {"name": "SSIM", "value": f"{trip.ssim:.4f}", "hint": "structural similarity; 1 is equal"},
            {"name": "Mean error", "value": f"{trip.mae:.2f}", "hint": "of 255 levels"},
            {"name": "Latents", "value": latents, "hint": "channels, height, width"},
            *([] if trip.codes is None else _codes(trip.codes, trip.original.width * trip.original.height)),
        ],
        "note": trip.note or "The picture fitted as it was.",
        "error": {"file": files.served(error), "range": f"{ERROR_RANGE:g}"},
        "channels": {"file": files.served(channels)},
        "codes": None if codes is None else {"file": files.served(codes)},
        "statistics": trip.statistics,
    }


def _codes(codes: Codes, pixels: int) -> list[dict[str, str]]:
    """The numbers of a codebook; `pixels` are those of the picture."""
    return [
        {
            "name": "Codes used",
            "value": f"{codes.used:,} of {codes.total:,}",
            "hint": "different ones in this picture",
        },
        {
            "name": "Perplexity",
            "value": f"{codes.perplexity:.0f}",
            "hint": "codes that would tell as much, taken equally often",
        },
        {
            "name": "Bits",
            "value": f"{codes.bits:,}",
            "hint": f"{codes.bits_per_code} for each of {codes.indices.numel():,} latents",
        },
        {
            "name": "Against pixels",
            "value": f"1 : {pixels * PIXEL_BITS / max(1, codes.bits):.0f}",
            "hint": f"a pixel has {PIXEL_BITS} bits",
        },
    ]
