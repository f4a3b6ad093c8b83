"""What makes a CPU fast, each in a few lines: dtype, kept memory, and the network as one traced graph.

Measured ratios stand in `docs/speed.md`.  Nothing here changes what is computed, only how.
"""

import ctypes
import logging
import platform
import sys
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor, nn

MAX_GRAPHS = 12  # shapes; the one not used for longest is dropped
Graph = Callable[..., Tensor | tuple[Tensor, ...]]
log = logging.getLogger(__name__)


def preferred_dtype(device: torch.device) -> torch.dtype:
    """What to run in: bfloat16 on a CPU with instructions for it, float16 on a GPU, else float32.

    Never float16 on a CPU: no processor multiplies it faster than float32.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if device.type == "cpu" and has_bfloat16():
        return torch.bfloat16
    return torch.float32


def has_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware (AVX-512 BF16 or AMX)."""
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in checks)


def preferred_device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def use_one_thread() -> None:
    """Have torch compute on this thread alone: for one that works beside another that uses all cores.

    Two that share the cores wait for each other at every operator.  Holds for the
    calling thread and for those that begin to compute later.
    """
    torch.set_num_threads(1)


def keep_own_threads() -> None:
    """Have this thread keep its number of threads, whatever others ask for later."""
    torch.set_num_threads(torch.get_num_threads())


def keep_freed_memory() -> bool:
    """Have the process keep memory it frees, so that the next step need not fault it in again.

    glibc gives every block over 32 MB back to the kernel at once.  The cost: the process keeps its peak.

    Returns:
        Whether anything was done: on Linux with glibc only.
    """
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL("libc.so.6")
    settings = ((-4, 0), (-1, 2**31 - 1), (-2, 256 << 20), (-8, 1))  # MMAP_MAX, TRIM, TOP_PAD, ARENA_MAX
    return all(libc.mallopt(key, value) == 1 for key, value in settings)


class Graphs:
    """A U-Net as traced graphs, one per shape, with and without attention maps and words that are not heard.

    A traced graph runs without Python between its operators: a busy web server in the same process does not
    slow it, and dispatch costs less.  Where tracing cannot work the network runs as it is, same bits.
    Not safe for two threads at once; `Engine` has the lock.

    Attributes:
        enabled: False runs the network as it is.
    """

    def __init__(self, unet: nn.Module) -> None:
        self.unet = unet
        self.enabled = True
        self._graphs: OrderedDict[tuple[object, ...], Graph] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(
        self,
        x: Tensor,
        t: Tensor,
        context: Tensor,
        record: bool,
        heard: Tensor | None = None,
        y: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """The output and, with `record`, the attention maps after it; `heard`, `y` as `UNetModel.forward`."""
        if not self.enabled or not _may_trace(x):
            return _flat(self.unet(x, t, context, y, record=record, heard=heard))
        more = {name: tensor for name, tensor in (("heard", heard), ("y", y)) if tensor is not None}
        inputs = (x, t, context, *more.values())
        key = (*(tuple(i.shape) for i in inputs), *more, x.dtype, x.device, record)
        with self._lock:
            graph = self._graphs.get(key)
            if graph is None:
                graph = self._trace(inputs, record, tuple(more))
                self._graphs[key] = graph
                while len(self._graphs) > MAX_GRAPHS:
                    self._graphs.popitem(last=False)
            self._graphs.move_to_end(key)
        result = graph(*inputs)
        return (result,) if isinstance(result, Tensor) else tuple(result)

    def clear(self) -> None:
        """Forget every graph; call it after the weights have changed."""
        self._graphs.clear()

    def _trace(self, inputs: tuple[Tensor, ...], record: bool, more: tuple[str, ...]) -> Graph:
        recording = _Recording(self.unet, record, more).eval()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch.jit's own deprecation, and shapes taken as constants
                return _as_graph(recording, inputs)
        except (RuntimeError, TypeError) as error:
            shape = tuple(inputs[0].shape)
            log.warning("the network cannot be traced at %s and runs eagerly: %s", shape, error)
            return recording


def traced(module: nn.Module, example: Tensor) -> Callable[[Tensor], Tensor]:
    """A module of one tensor as one graph, for any size and from any thread.

    Args:
        module: on the CPU, in evaluation mode; what it does must not depend on the size of its input.
        example: an input of any size.
    """
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit's own deprecation
        _use_own_unit()
        graph = torch.jit.freeze(torch.jit.trace(module, example, check_trace=False))
        for _ in range(2):  # the first calls of a graph are slow
            graph(example)
    return lambda x: graph(x)  # a plain function: whoever keeps it does not take it for a submodule


def _as_graph(module: nn.Module, inputs: tuple[Tensor, ...]) -> Graph:
    _use_own_unit()
    graph = torch.jit.trace(module, inputs, check_trace=False)
    return torch.jit.freeze(graph)


def _use_own_unit() -> None:
    """Have the next trace's memory go with its graph: what lies in torch's one unit for all stays for good.

    Measured: 20 MB for each trace of the default model's U-Net, 2 MB in a unit of its own.
    """
    state = torch.jit._state
    if hasattr(state, "_python_cu"):  # torch's own affair, which may change
        state._python_cu = torch._C.CompilationUnit()


def _may_trace(x: Tensor) -> bool:
    return x.device.type == "cpu" and not torch.is_grad_enabled()


def _flat(result: Tensor | tuple[Tensor, tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    return (result,) if isinstance(result, Tensor) else (result[0], *result[1])


class _Recording(nn.Module):
    """The U-Net with `record` fixed and a flat result, for the tracer.

    Args:
        more: names of the arguments that come after the context.
    """

    def __init__(self, unet: nn.Module, record: bool, more: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.unet = unet
        self.record = record
        self.more = more

    def forward(self, x: Tensor, t: Tensor, context: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
        more = dict(zip(self.more, given, strict=True))
        return _flat(self.unet(x, t, context, record=self.record, **more))
