"""Files are written whole or not at all: beside their place first, then moved there."""

import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from .errors import LdmError


def write_file(
    path: str | Path, parts: Iterable[bytes | memoryview], kind: type[LdmError] = LdmError
) -> None:
    """Write `parts` one after the other as the file `path`; what was there before stays until all is written.

    Raises:
        LdmError: (of class `kind`) the disk is full, the folder is missing, or it may not be written to.
    """
    path = Path(path)
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with part.open("xb") as file:
            for data in parts:
                file.write(data)
            file.flush()
            os.fsync(file.fileno())  # else a crash could leave an empty file under the final name
        part.replace(path)
    except OSError as error:
        raise kind(f"{path.name} could not be written: {error.strerror or error}.") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
