"""What the processes of a torch.distributed group say to each other, and how all of them end when one fails."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from fastclust.errors import BackendError, FastclustError, InternalError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

__all__ = ["ProcessGroup"]


class ProcessGroup:
    """The default group, which the caller has made.

    Before anything else is said, each process says whether it goes on: one that failed since then is not waited for.
    All processes must call :meth:`say` and :meth:`gather` in one order, inside :meth:`together`.

    Parameters
    ----------
    rank, size
        This process's number, and how many there are.
    device
        Where tensors must lie: NCCL takes those of a GPU, gloo those of the host.
    """

    def __init__(self, rank: int, size: int, device: Any) -> None:
        self.rank, self.size, self.device = rank, size, device
        self._ended = False

    @classmethod
    def joined(cls) -> Self:
        """The group that this process is in. Raises BackendError where there is none."""
        import torch
        from torch import distributed

        from fastclust.learning import ranks

        if not ranks.joined():
            raise BackendError(
                "GroupKMeans: this process is in no torch.distributed group. Start it by torchrun and call "
                "torch.distributed.init_process_group() first, or take fastclust.KMeans."
            )
        name = distributed.get_backend()
        device = torch.device("cuda", torch.cuda.current_device()) if "nccl" in name else torch.device("cpu")
        return cls(ranks.rank(), ranks.world(), device)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Work at whose end all processes meet; what one raises in it ends it in all.

        The process that failed raises what it raised, the others UnavailableError or, where it was no error of ours,
        InternalError, with the number of that process. They hear of it when they next have something to say.
        """
        try:
            yield
            self._meet(failed=False)
        except BaseException as error:
            if not self._ended:
                with suppress(UnavailableError):
                    self._meet(failed=True)
                    self._exchange((isinstance(error, FastclustError), f"{type(error).__name__}: {error}"))
            raise

    def say(self, what: Any) -> list[Any]:
        """What each process said, by rank; small things only, for they are pickled by torch.

        Of processes that the caller started: a group is as trusted as the process itself.
        """
        self._meet(failed=False)
        return self._exchange(what)

    def gather(self, values: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        """The float64 vector of each process, all of one length, by rank."""
        import torch
        from torch import distributed

        mine = torch.from_numpy(np.ascontiguousarray(values)).to(self.device)
        heard = [torch.empty_like(mine) for _ in range(self.size)]
        self._meet(failed=False)
        self._call(distributed.all_gather, heard, mine)
        return [each.cpu().numpy() for each in heard]

    def _meet(self, *, failed: bool) -> None:
        """Say whether this process failed, and raise in those that did not where another did."""
        import torch
        from torch import distributed

        mine = torch.tensor([int(failed)], dtype=torch.int32, device=self.device)
        heard = [torch.empty_like(mine) for _ in range(self.size)]
        self._call(distributed.all_gather, heard, mine)
        if failed or not any(int(each) for each in heard):
            return
        said = self._exchange(None)
        self._ended = True
        other, (ours, text) = next((number, each) for number, each in enumerate(said) if each is not None)
        kind = UnavailableError if ours else InternalError
        raise kind(f"process {other} of the group cannot go on: {text}")

    def _exchange(self, what: Any) -> list[Any]:
        from torch import distributed

        heard: list[Any] = [None] * self.size
        self._call(distributed.all_gather_object, heard, what)
        return heard

    def _call(self, collective: Callable[..., Any], *values: Any) -> None:
        """Call torch; what it raises is of the group itself, which nobody can be told of."""
        try:
            collective(*values)
        except RuntimeError as error:
            self._ended = True
            raise UnavailableError(f"the processes of the group lost each other: {error}") from error
        except BaseException:
            self._ended = True
            raise
