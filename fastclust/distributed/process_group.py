"""What the processes of a torch.distributed group say to each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from fastclust.errors import BackendError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ProcessGroup"]


@dataclass(frozen=True)
class ProcessGroup:
    """The default group, which the caller has made."""

    rank: int
    size: int
    #: Where its tensors must lie: NCCL takes those of a GPU, gloo those of the host.
    device: Any

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

    def say(self, what: Any) -> list[Any]:
        """What each process said, by rank; small things only, for they are pickled by torch.

        Of processes that the caller started: a group is as trusted as the process itself.
        """
        from torch import distributed

        heard: list[Any] = [None] * self.size
        distributed.all_gather_object(heard, what)
        return heard

    def gather(self, values: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        """The float64 vector of each process, all of one length, by rank."""
        import torch
        from torch import distributed

        mine = torch.from_numpy(np.ascontiguousarray(values)).to(self.device)
        heard = [torch.empty_like(mine) for _ in range(self.size)]
        distributed.all_gather(heard, mine)
        return [each.cpu().numpy() for each in heard]
