"""Seeds of generators, hashed from the seed of a picture and what is drawn.

torch's generator on the CPU reads the low 32 bits of a seed, so every bit of a key must depend on all of it.
"""

_MASK = 2**64 - 1
_BROWNIAN = int.from_bytes(b"Brownian", "big")  # above every picture's seed, so no draw's hash begins with it


def draw_seed(seed: int, draw: int) -> int:
    """Seed of one draw of one picture: `seed` itself for draw 0, a hash of both from then on.

    A hash, because seed + draw would give step k of one picture the noise of step k - 1 of the next.

    Source: SplitMix64, Steele et al. 2014, "Fast splittable pseudorandom number generators".
    """
    if draw == 0:
        return seed
    return _mix(_mix(seed) + draw)


def node_seed(seed: int, octave: int, node: int) -> int:
    """Seed of one normal of a picture's Brownian motion, apart from those of its draws."""
    return _mix(_mix(_mix(seed ^ _BROWNIAN) + octave) + node)


def _mix(word: int) -> int:
    """SplitMix64's step: one-to-one on 64 bits; every bit in changes half of the bits out."""
    word = (word + 0x9E3779B97F4A7C15) & _MASK
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & _MASK
    return word ^ (word >> 31)
