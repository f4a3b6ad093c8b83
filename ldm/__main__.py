"""The command line.

    python -m ldm generate | grid | invert | page | animate | schedule | roundtrip | inspect | convert | train
    python -m ldm evaluate

The same names as in the app.  Mistakes of the user end with one sentence and exit code 2.
"""

import argparse
import sys
from collections.abc import Sequence

from .commands import Function, drawing, files, schedule, showing, training
from .errors import LdmError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit code."""
    parser = _parser()
    try:
        options = parser.parse_args(arguments)  # what is typed may be refused already
        options.run(options)
    except LdmError as error:
        print(f"ldm: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # a folder that cannot be made, a disk that is full
        print(f"ldm: {error.strerror or error}: {error.filename or 'the file'}.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ldm", description="Latent diffusion you can watch.")
    commands = parser.add_subparsers(required=True, metavar="command")

    def command(name: str, function: Function, text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text)
        made.set_defaults(run=function)
        return made

    for module in (drawing, showing, schedule, files, training):
        module.add(command)
    return parser


if __name__ == "__main__":
    sys.exit(main())
