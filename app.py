"""Start the app: `python app.py`, then open the address it prints."""

import argparse
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

# before gradio is imported; who sets them differently is obeyed
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("GRADIO_ANALYTICS_CACHE_FREQUENCY", "1000000")  # else every event computes statistics


def main(arguments: Sequence[str] | None = None) -> int:
    """Load the model, serve the page, clean up; gives the exit code."""
    given = parser().parse_args(arguments)
    # like Ctrl-C: the server closes, and what comes after `launch` still runs
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return serve(given)
    except KeyboardInterrupt:
        return 0


def serve(given: argparse.Namespace) -> int:
    """The app itself; the imports take seconds, and `--help` should not."""
    from ldm.ui import zero_gpu

    decorator = zero_gpu.on_device() if zero_gpu.wanted() else None  # before torch sees a device
    import torch

    from ldm.engine import Engine, Limits
    from ldm.errors import LdmError
    from ldm.speed import keep_freed_memory
    from ldm.ui import build_app, launch
    from ldm.ui.events import on_a_space

    keep_freed_memory()
    # the library silences it while it traces, but a thread cannot do that for itself alone
    warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
    try:
        options = {} if decorator is None else {"on_device": decorator}
        limits = Limits(switching=not (given.keep_model or on_a_space()), guests=given.guests_open)
        engine = Engine(given.weights, device=given.device, limits=limits, **options)
    except LdmError as error:
        print(error, file=sys.stderr)
        return 2
    try:
        if decorator is None:
            engine.warm_up()
        launch(build_app(engine), engine, given.host, given.port)
    except OSError as error:  # the port is taken, or the address is not ours
        print(error, file=sys.stderr)
        return 2
    finally:
        engine.close()
    return 0


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(description="Watch latent diffusion draw, step by step.")
    made.add_argument("--weights", type=Path, help="checkpoint to open (default: the first in weights/)")
    made.add_argument("--device", help="cpu, cuda, mps ... (default: the best there is)")
    made.add_argument("--host", help="address to listen on (default: GRADIO_SERVER_NAME, else 127.0.0.1)")
    made.add_argument(
        "--port", type=int, help="port (default: GRADIO_SERVER_PORT, else the first free one from 7860)"
    )
    made.add_argument(
        "--keep-model",
        action="store_true",
        help="let nobody open another model from the page (so it is on a Space anyway)",
    )
    made.add_argument(
        "--guests-open",
        action="store_true",
        help="let visitors from other computers open what lies in weights/ too, which is then everybody's",
    )
    return made


if __name__ == "__main__":
    sys.exit(main())
