"""What a run takes in memory: counted where it is there, foretold where it is not yet."""

from itertools import pairwise

import torch
from PIL import Image

from ..diffusion.guidance import Guidance, progress
from ..generation.asked import guidance_of, levels_of
from ..generation.record import MAX_MAP, recorded_of
from ..generation.start import position, steps_of
from ..latent_diffusion import LatentDiffusion
from ..settings import Settings
from ..trace import AttentionMaps, Trace

LATENT_BYTES, MAP_BYTES = 4, 2  # of a number: float32, float16


def size_of(result: object) -> int:
    """Bytes of a trace's tensors, each storage counted once, and of its pictures; 0 for anything else."""
    if not isinstance(result, Trace):
        return 0
    storages: dict[int, int] = {}
    for step in result.steps:
        p = step.prediction
        asked = (step.x, step.x_next, step.x_asked, p.attention, p.attention_uncond)
        for value in (*asked, p.x0, p.x0_cond, p.x0_uncond, p.x0_third):
            tensors = value.maps if isinstance(value, AttentionMaps) else (value,)
            for tensor in tensors:
                if isinstance(tensor, torch.Tensor):
                    storage = tensor.untyped_storage()
                    storages[storage.data_ptr()] = storage.nbytes()
    pictures = [image for image in (*result.images, result.init_image, result.mask) if image is not None]
    return sum(storages.values()) + size_of_pictures(*pictures)


def size_of_pictures(*pictures: Image.Image) -> int:
    """Bytes of pictures, one for each pixel of each band."""
    return sum(image.width * image.height * len(image.getbands()) for image in pictures)


def cost(model: LatentDiffusion, settings: Settings, from_picture: bool = False) -> int:
    """Bytes that the trace of a run will take, from shapes alone; a little more than it turns out to be.

    Args:
        from_picture: it starts from a picture, so it makes the steps that its strength leaves.
    """
    f, batch = model.downsampling_factor, settings.batch_size
    height, width = settings.height // f, settings.width // f
    latent = batch * model.latent_channels * height * width * LATENT_BYTES
    prompt, negative = (batch * MAP_BYTES * n for n in _map_numbers(model, settings, height, width))
    total = latent  # where the last step ends
    for guidance in _guidances(model, settings, from_picture):
        branches = _branches(settings, guidance)
        # x, and what is predicted; guided it is a tensor of its own
        tensors = 1 + branches + (branches > 1) + (settings.s_churn > 0)
        if model.device.type == "cuda":
            tensors += 1  # copied from there, x_next is not the next step's x
        total += tensors * latent + prompt + (negative if branches > 1 else 0)
    pictures = batch + (1 if from_picture else 0)
    return total + 3 * pictures * settings.width * settings.height


def _map_numbers(model: LatentDiffusion, settings: Settings, height: int, width: int) -> tuple[int, int]:
    """Numbers in the attention maps of one step and picture, of the prompt and of the negative one."""
    levels = {level for level, _ in model.model.diffusion_model.cross_attentions().values()}
    sizes = [(-(-height // 2**level), -(-width // 2**level)) for level in levels]
    length, asked = model.conditioner.length, recorded_of(model, settings)

    def numbers(tokens: int) -> int:
        kept = min(length, tokens + 1)  # with one position for all padding
        return sum(_kept(kept, h, w) for h, w in sizes)

    return numbers(asked.tokens), numbers(asked.negative_tokens)


def _kept(tokens: int, height: int, width: int) -> int:
    """Numbers that `record.compact` leaves of a map."""
    while tokens * height * width > MAX_MAP:
        height, width = -(-height // 2), -(-width // 2)
    return tokens * height * width


def _guidances(model: LatentDiffusion, settings: Settings, from_picture: bool) -> list[Guidance]:
    """The guidance that holds at each step that is made."""
    levels = levels_of(model, settings)
    first = settings.steps - steps_of(settings, from_picture)
    made = levels[position(levels, first) :].tolist()
    guidance, steps = guidance_of(settings), len(model.schedule)
    return [
        guidance.at(progress(model.schedule.timestep(high), steps))
        for high, low in pairwise(made)
        if low <= high
    ]


def _branches(settings: Settings, guidance: Guidance) -> int:
    """How many predictions a step keeps, with what is told apart of two."""
    third = guidance.method == "two_scale" or (
        guidance.method == "perpendicular" and bool(settings.negative_prompt)
    )
    if not settings.guided or guidance.is_off(third):
        return 1
    return 3 if third else 2
