"""Put a training's log, its loss curves and some of its sample grids into docs/default_model/.

    python scripts/training_record.py [--folder runs/default] [--stages 4000 6000 8000]

Writes `log.csv` (every hundredth step), `curve.svg` and `stage-*.jpg`.
"""

import argparse
import csv
import json
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from PIL import Image

OUT = Path(__file__).parents[1] / "docs" / "default_model"
WIDTH, HEIGHT, LEFT, TOP = 720, 300, 56, 28
COLORS = {"latent": "#7c5cff", "decoder": "#0f9d76", "encoder": "#d9822b"}
Series = list[tuple[float, float]]


def read(folder: Path) -> tuple[dict[str, Series], list[dict[str, Any]]]:
    """Loss by samples of each part, older trainings first, and the rows of the log."""
    before = folder / "before.json"
    record = json.loads(before.read_text()) if before.exists() else {}
    log = folder / "log.jsonl"
    rows = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    series: dict[str, Series] = {}
    for part in COLORS:
        old = [tuple(point) for point in record.get(part, {}).get("curve", [])]
        series[part] = sorted({*old, *((r["samples"], r["loss"]) for r in rows if r["part"] == part)})
    return series, rows


def chart(series: dict[str, Series]) -> str:
    """The curves as SVG: samples in thousands to the right, loss upwards from 0."""
    widest = max(points[-1][0] for points in series.values() if points)
    tallest = max(loss for points in series.values() for _, loss in points)
    lowest = min(0.0, *(loss for points in series.values() for _, loss in points))  # a likelihood may pass 0

    def place(samples: float, loss: float) -> tuple[float, float]:
        x = LEFT + (WIDTH - LEFT - 16) * samples / widest
        return round(x, 1), round(HEIGHT - 36 - (HEIGHT - 36 - TOP) * (loss - lowest) / (tallest - lowest), 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        'font-size="12"><rect width="100%" height="100%" fill="#fff"/>'
    ]
    for k in range(5):
        x, _ = place(widest * k / 4, 0)
        _, y = place(0, tallest * k / 4)  # lines at quarters of the way from 0 up
        parts.append(f'<path d="M{LEFT} {y}H{WIDTH - 16}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{tallest * k / 4:.2f}</text>')
        parts.append(f'<text x="{x}" y="{HEIGHT - 16}" text-anchor="middle">{widest * k / 4000:.0f} k</text>')
    for k, (name, points) in enumerate(series.items()):
        if points:
            line = " ".join(f"{x},{y}" for x, y in (place(*point) for point in points))
            parts.append(
                f'<polyline points="{line}" fill="none" stroke="{COLORS[name]}" stroke-width="1.5"/>'
            )
            parts.append(f'<text x="{LEFT + 110 * k}" y="16" fill="{COLORS[name]}">{escape(name)}</text>')
    parts.append(
        f'<text x="{WIDTH - 16}" y="16" text-anchor="end">loss, by pictures or crops seen</text></svg>'
    )
    return "\n".join(parts) + "\n"


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("runs/default"))
    parser.add_argument("--stages", type=int, nargs="*", default=[], help="steps whose sample grids are kept")
    options = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    series, rows = read(options.folder)
    (OUT / "curve.svg").write_text(chart(series))
    with (OUT / "log.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["part", "step", "samples", "loss", "grad_norm", "rate"])
        for row in (row for row in rows if row["step"] % 100 == 0):
            numbers = [f"{row[name]:.4g}" for name in ("loss", "grad_norm", "rate")]
            writer.writerow([row["part"], row["step"], row["samples"], *numbers])
    for step in options.stages:
        image = Image.open(options.folder / "grids" / f"{step:06d}.png").convert("RGB")
        image.save(OUT / f"stage-{step:06d}.jpg", quality=88)


if __name__ == "__main__":
    main()
