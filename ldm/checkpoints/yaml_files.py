"""The one reader of YAML files, which may be anybody's: small ones, without references, of plain values.

A few lines of YAML that refer to one another stand for more than any memory holds, as soon as somebody writes
them out; no config needs that.
"""

from functools import cache
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from .careful import said

MAX_BYTES = 256 * 1024  # published ones have a few thousand


@cache
def _loader() -> type:
    """PyYAML's reader of plain values, without anchors and aliases; PyYAML is imported where it is needed."""
    import yaml

    class Plain(yaml.SafeLoader):
        def compose_node(self, parent: Any, index: Any) -> Any:  # noqa: ANN401 - PyYAML's own signature
            event = self.peek_event()  # type: ignore[no-untyped-call]
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
                raise yaml.YAMLError("it has anchors or aliases (& or *), which are not followed")
            return super().compose_node(parent, index)  # type: ignore[no-untyped-call]

    return Plain


def read_yaml(path: Path, without: str = "") -> Any:  # noqa: ANN401 - any plain value
    """What a YAML file holds, in plain types.

    Args:
        without: a tag whose every occurrence is left out before reading.

    Raises:
        CheckpointError: it is too large, refers to itself, or is no YAML; the sentence names the file.
    """
    import yaml

    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise CheckpointError(
                f"{path.name} cannot be read: it has more than {MAX_BYTES // 1024} KiB, "
                "and no model's YAML file is that large."
            )
        text = content.decode("utf-8")
        return yaml.load(text.replace(without, "") if without else text, Loader=_loader())
    except (
        yaml.YAMLError,
        OSError,
        ValueError,
        TypeError,
        AttributeError,
        LookupError,
        RecursionError,
    ) as error:
        raise CheckpointError(f"{path.name} cannot be read: {said(error)}.") from error
