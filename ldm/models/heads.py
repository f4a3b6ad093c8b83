"""What every network answers when it is asked for its cross-attention, head by head."""

from collections.abc import Iterator

from torch import Tensor

from .attention import Asked


class Listening:
    """Of a network with cross-attention: one whose `_run` notes what each layer asked its context."""

    def _run(
        self,
        x: Tensor,
        t: Tensor,
        context: Tensor | None,
        y: Tensor | None,
        asked: list[Asked] | None,
        heard: Tensor | None,
    ) -> Tensor:
        raise NotImplementedError

    def cross_attentions(self) -> dict[str, tuple[int, int]]:
        """(times the size is halved, heads) of each layer with cross-attention, in the order they run."""
        raise NotImplementedError

    def heads(
        self,
        x: Tensor,
        t: Tensor,
        context: Tensor,
        heard: Tensor | None = None,
        y: Tensor | None = None,
    ) -> Iterator[tuple[str, Tensor]]:
        """The cross-attention of every head, layer by layer in the order they run; arguments as `forward`.

        Yields:
            The layer's name and (B, h, T, H, W) float32, which sums to 1 over T.
        """
        asked: list[Asked] = []
        self._run(x, t, context, y, asked, heard)
        for name, layer in zip(self.cross_attentions(), asked, strict=True):
            yield name, layer.maps().unflatten(-1, (layer.height, layer.width))


class Deaf:
    """Of a network without cross-attention."""

    def heads(
        self,
        x: Tensor,
        t: Tensor,
        context: Tensor,
        heard: Tensor | None = None,
        y: Tensor | None = None,
    ) -> Iterator[tuple[str, Tensor]]:
        """As `Listening.heads`: there are none."""
        return iter(())

    def cross_attentions(self) -> dict[str, tuple[int, int]]:
        """As `Listening.cross_attentions`: there are none."""
        return {}
