"""One training from nothing to a checkpoint, all parts in order.

Every part resumes where it stopped.  Yields a `TrainStep` for each step of each part.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ..data.scenes import OBJECTS, written
from ..generation import run as draw
from ..models.tokenizer import Tokenizer, train_bpe
from ..settings import Settings
from ..views.layout import grid
from ..writing import write_file
from .autoencoder import basis_for, train_part
from .cache import Cache
from .config import VOCABULARY_SIZE, Training
from .export import EXAMPLES, assemble
from .latent import LatentTraining, steps_done, train
from .state import Log, TrainStep
from .team import Team, gathered

PARTS = ("latents", "decoder", "encoder", "latent")


@dataclass(frozen=True)
class Workplace:
    """Where a training keeps its state, and how often it looks at itself.

    Attributes:
        folder: state, cache, log and sample grids; may be deleted when the checkpoint is made.
        log_every: steps between two lines of the log; their losses are averaged.
        grid_every: steps between two sample grids of the last part; 0 is never.
        processes: that share each batch of the last part.
        threads: of each process; 0 leaves it to torch.
        device: where the networks are.
    """

    folder: Path
    log_every: int = 20
    grid_every: int = 500
    processes: int = 1
    threads: int = 0
    device: str = "cpu"


def tokenizer_for(training: Training, folder: Path) -> Tokenizer:
    """The vocabulary, learned once from captions over all objects and kept in the folder."""
    path = folder / "tokenizer.json"
    if not path.exists():
        levels = ("easy", "free", "many")
        captions = [
            written(5, i, levels[i % 3], OBJECTS, held_out=None) for i in range(training.bpe_captions)
        ]
        vocab, merges = train_bpe(captions, VOCABULARY_SIZE)
        text = training.latent.text
        made = Tokenizer(
            vocab,
            merges,
            length=text.max_position_embeddings,
            bos=text.bos_token_id,
            eos=text.eos_token_id,
            pad=text.pad_token_id,
        )
        folder.mkdir(parents=True, exist_ok=True)
        write_file(path, [json.dumps(made.to_dict()).encode()])
    return Tokenizer.from_dict(json.loads(path.read_text()))


def train_all(training: Training, place: Workplace, parts: tuple[str, ...] = PARTS) -> Iterator[TrainStep]:
    """Train the parts in order.

    Args:
        parts: of PARTS; "latent" needs none of the others, and "latents" only makes ready what it draws from.
    """
    folder = place.folder
    if place.threads:
        torch.set_num_threads(place.threads)
    log = Log(folder)
    for part in parts:
        if part == "latents":
            steps = fill(cache_for(training, folder), training.latent, steps_done(folder))
        elif part == "latent":
            steps = train_together(training, place)
        else:
            steps = train_part(part, training.autoencoder, folder, device=place.device)
        for step in logged(steps, log, place.log_every):
            yield step
            if part == "latent" and place.grid_every and step.step % place.grid_every == 0:
                log.picture(sample_grid(training, folder, step.step), step.step)


def logged(steps: Iterable[TrainStep], log: Log, every: int = 20) -> Iterator[TrainStep]:
    """The steps as they are made; each `every`th has the mean loss since the last, and goes to the log."""
    losses: list[float] = []
    for step in steps:
        losses.append(step.loss)
        if step.step % every == 0:
            step = replace(step, loss=sum(losses) / len(losses))
            losses.clear()
            log.write(step)
        yield step


def cache_for(training: Training, folder: Path) -> Cache:
    """The rendered pictures of a training, as latents."""
    tokenizer = tokenizer_for(training, folder)
    return Cache(folder, training.objects, basis_for(training.autoencoder, folder), tokenizer)


def train_together(training: Training, place: Workplace) -> Iterator[TrainStep]:
    """Train text encoder and U-Net, in as many processes as the place says."""
    cache = cache_for(training, place.folder)
    with gathered(place.processes, place.folder, _train_along, training, place) as team:
        yield from train(training.latent, cache, place.folder, team=team, device=place.device)


def _train_along(team: Team, training: Training, place: Workplace) -> None:
    if place.threads:
        torch.set_num_threads(place.threads)
    cache = cache_for(training, place.folder)
    for _ in train(training.latent, cache, place.folder, team=team, device=place.device):
        pass


def fill(cache: Cache, config: LatentTraining, done: int = 0) -> Iterator[TrainStep]:
    """Render the chunks that the steps after `done` draw from, where they are not there, in order of need."""
    for phase in (phase for phase in config.phases if phase.until > done):
        for number in range(phase.chunks):
            for level in phase.shares:
                cache.make(level, number, phase.objects)
    yield from ()


def sample_grid(training: Training, folder: Path, step: int) -> Path:
    """Pictures of fixed prompts by the moving averages as they stand in the folder."""
    model = assemble(training, folder).to(torch.bfloat16)
    recommended = training.recommended
    settings = Settings(
        "?",
        steps=12,
        cfg_scale=recommended.cfg_scale,
        cfg_rescale=recommended.cfg_rescale,
        width=recommended.width,
        height=recommended.height,
    )
    images = [
        draw(model, replace(settings, prompt=p, seed=i)).images[0].resize((128, 128))
        for i, p in enumerate(EXAMPLES)
    ]
    path = folder / "grids" / f"{step:06d}.png"
    path.parent.mkdir(exist_ok=True)
    grid(images, 4, list(EXAMPLES)).save(path)
    return path
