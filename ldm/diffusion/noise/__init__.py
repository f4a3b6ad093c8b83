"""Random numbers: the noise that a run starts from, and what its steps stir in.

`NoiseStream` is ours and depends on nothing but (seed, picture, draw): not on batch, device, order, history.
Noise is drawn on the CPU in float32 and moved where it is needed, so a seed means one picture everywhere, and
a run can be taken up again at any step.  `noise_of` also gives the noise of other programs and of variations.

To add a convention, write a function in `conventions.py` and add a line to NOISES; the tests find it there.
"""

from .conventions import NOISES, Convention, noise_of
from .keys import draw_seed
from .stream import Noise, NoiseStream
from .variation import slerp

__all__ = ["NOISES", "Convention", "Noise", "NoiseStream", "draw_seed", "noise_of", "slerp"]
