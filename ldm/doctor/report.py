"""The strict report: everything about a file or folder, from its header, its weights and its behaviour.

What costs time is asked for: by default only names, shapes and sizes are looked at, in under a second for a
file of any size.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from ..behaviour import Verdict, check_label, decide
from ..checkpoints import identify, load, read
from ..checkpoints.compvis import has_ema
from ..checkpoints.files import read_state_dict
from ..errors import CheckpointError, SettingsError
from ..latent_diffusion import LatentDiffusion
from ..lora import is_lora, match, read_lora
from ..lora.matching import lora_family
from ..models.config import ModelConfig
from .records import LoraSummary, Report
from .scan import Progress, faults, kinds, sha256
from .strict import compare

SHOWN = 300  # characters of a value of the metadata
HASHED = 10  # digits of AutoV2


def examine(
    path: str | Path,
    *,
    weights: bool = False,
    behaviour: bool = False,
    beside: LatentDiffusion | None = None,
    progress: Progress | None = None,
) -> Report:
    """Examine a file or a folder; what is wrong with it is in the report and raises nothing.

    Args:
        weights: read every weight and hash the file: NaN, infinite, zero and constant tensors.
        behaviour: load the model and ask it what it predicts; seconds for a small one.
        beside: the model that a LoRA is matched against.
        progress: told the share that is done of reading, 0 to 1.

    Raises:
        CheckpointError: there is no such file.
    """
    path = Path(path)
    if not path.exists() and not path.is_symlink():
        raise CheckpointError(f"There is no file {path}.")
    report = _from_header(path)
    if weights:
        report = _with_weights(report, path, progress)
    if report.lora is not None and beside is not None:
        report = replace(report, lora=_matched(report.lora, path, beside))
    if behaviour and report.loads and not report.problem:
        report = _with_behaviour(report, path)
    return report


def _from_header(path: Path) -> Report:
    known = identify(path)
    report = Report(
        path=str(path),
        name=_line(path.name),
        size=_size(path),
        title=known.title,
        family=known.family,
        layout=known.layout,
        evidence=known.evidence,
        loads=known.loads,
        problem=known.refusal,
        metadata={_line(key): _line(value) for key, value in known.metadata.items()},
    )
    if _quietly(lambda: is_lora(path)):
        return replace(report, lora=_lora(path, only_shapes=True))
    tensors: Mapping[str, Tensor] = {}
    try:
        if known.loads and known.layout != "first stage":
            checkpoint = read(path, ema=False)
            tensors = checkpoint.tensors
            parts, leftovers, problem = compare(checkpoint)
            report = replace(
                report,
                loads=not problem,
                problem=problem,
                parts=parts,
                leftovers=leftovers,
                weights="raw and averaged" if has_ema(tensors) else "raw",
                label=label_of(checkpoint.config),
            )
        elif path.is_file() and known.family != "unreadable":
            tensors, _ = read_state_dict(path)
    except CheckpointError as error:
        report = replace(report, loads=False, problem=str(error))
    return replace(report, kinds=kinds(tensors))


def _with_weights(report: Report, path: Path, progress: Progress | None) -> Report:
    halves = _halves(progress)
    try:
        if report.layout == "diffusers":
            tensors: Mapping[str, Tensor] = read(path, ema=False).tensors
        else:
            tensors = read_state_dict(path)[0]
    except CheckpointError as error:
        return replace(report, loads=False, problem=report.problem or str(error))
    digest = sha256(path, halves[0]) if path.is_file() else ""
    found = faults(tensors, halves[1])
    lora = report.lora
    if lora is not None:
        lora = _lora(path, only_shapes=False)
    return replace(report, sha256=digest, short_hash=digest[:HASHED], faults=found, scanned=True, lora=lora)


def _with_behaviour(report: Report, path: Path) -> Report:
    try:
        model = load(path)
        verdict = decide(model)
    except (CheckpointError, SettingsError) as error:
        return replace(report, behaviour=(f"It cannot be asked: {error}",))
    return replace(report, behaviour=told(verdict), mislabelled=check_label(model, verdict) or "")


def told(verdict: Verdict) -> tuple[str, ...]:
    """A verdict as sentences."""
    sure = f"{verdict.confidence:.0%}"
    first = (
        f"It predicts {verdict.prediction_type} ({sure} sure)."
        if verdict.is_sure
        else f"What it predicts cannot be told ({sure} sure of {verdict.prediction_type})."
    )
    return (first, *verdict.evidence)


def label_of(config: ModelConfig) -> str:
    """What a file says of itself, or is taken to say."""
    schedule = config.schedule
    ends = "pure noise" if schedule.zero_terminal_snr else "a little of the picture left"
    return (
        f"predicts {config.prediction_type}; latents times {config.latent_scaling_factor:g}; "
        f"{schedule.n_steps} timesteps, {schedule.betas} betas {schedule.linear_start:g} to "
        f"{schedule.linear_end:g}, ending in {ends}"
    )


def _lora(path: Path, *, only_shapes: bool) -> LoraSummary | None:
    try:
        lora = read_lora(path, only_shapes=only_shapes)
    except CheckpointError as error:
        return LoraSummary("", (), (), 0, (), None, note=str(error))
    nothing = None if only_shapes else not any(delta.norm() for delta in lora.deltas)
    note = "It changes nothing: every one of its changes is zero." if nothing else ""
    family = lora_family(lora)
    return LoraSummary(family, lora.forms, lora.ranks, len(lora.deltas), lora.unread, nothing, note=note)


def _matched(lora: LoraSummary, path: Path, model: LatentDiffusion) -> LoraSummary:
    try:
        found = match(read_lora(path), model)
    except CheckpointError as error:
        return replace(lora, note=str(error))
    return replace(
        lora,
        matched=len(found.matched),
        ignored=found.ignored,
        strengths=found.strengths,
        changes_nothing=found.changes_nothing,
        note=found.note,
    )


def _quietly(ask: Callable[[], bool]) -> bool:
    try:
        return ask()
    except CheckpointError:
        return False


def _size(path: Path) -> int:
    """Bytes; of a folder those of all files in it and its own folders, links not followed."""
    try:
        if path.is_dir():
            return sum(one.stat().st_size for one in path.glob("*/*") if one.is_file()) + sum(
                one.stat().st_size for one in path.glob("*") if one.is_file()
            )
        return path.stat().st_size
    except OSError:
        return 0


def _line(text: str) -> str:
    """A value from a file on one line, cut where it is long."""
    flat = " ".join(text.split())
    flat = flat if flat.isprintable() else ascii(flat)
    return flat if len(flat) <= SHOWN else f"{flat[:SHOWN]} ... ({len(text)} characters)"


def _halves(progress: Progress | None) -> tuple[Progress | None, Progress | None]:
    """Progress of two things that take about as long."""
    if progress is None:
        return None, None
    return (lambda share: progress(share / 2)), (lambda share: progress(0.5 + share / 2))
