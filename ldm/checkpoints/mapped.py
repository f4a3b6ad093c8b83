"""Letting go of what was copied out of a file: mapped, a file counts as memory for as long as it is held."""

import ctypes
import sys
from bisect import bisect_right
from pathlib import Path

from torch import Tensor

PAGE = 4096  # the least a kernel maps; larger pages are multiples
DONT_NEED = 4  # MADV_DONTNEED


class Mapped:
    """The ranges of this process's memory that are windows into files, as they are now.

    Knows none but on Linux; then nothing is let go.
    """

    def __init__(self) -> None:
        self._ranges: list[tuple[int, int]] = []
        if sys.platform != "linux":
            return
        with Path("/proc/self/maps").open(encoding="utf-8") as lines:
            for line in lines:
                place, rights, _, _, inode, *_ = line.split(maxsplit=5)
                if inode != "0" and "s" not in rights:
                    start, end = place.split("-")
                    self._ranges.append((int(start, 16), int(end, 16)))
        self._starts = [start for start, _ in self._ranges]
        self._libc = ctypes.CDLL(None, use_errno=True)

    def let_go(self, tensor: Tensor) -> bool:
        """Give back the pages of a tensor that is a window into a file; reading it again reads the file.

        Returns:
            Whether it is one, and is large enough for a page.
        """
        storage = tensor.untyped_storage()
        start, end = storage.data_ptr(), storage.data_ptr() + storage.nbytes()
        if not self._ranges or tensor.device.type != "cpu":
            return False
        if tensor.is_contiguous():
            start = tensor.data_ptr()
            end = start + tensor.nbytes
        at = bisect_right(self._starts, start) - 1
        if at < 0 or end > self._ranges[at][1]:
            return False  # memory of its own would lose what it holds
        first, last = -(-start // PAGE) * PAGE, end // PAGE * PAGE
        if first >= last:
            return False
        done: int = self._libc.madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), DONT_NEED)
        return done == 0
