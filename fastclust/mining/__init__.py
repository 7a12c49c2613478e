"""Mining without labels: who belongs together along the manifold, and who only seems to."""

from fastclust.mining.diffusion import manifold_similarity
from fastclust.mining.manifold import mine_manifold
from fastclust.mining.pools import ManifoldPools, Ragged

__all__ = ["ManifoldPools", "Ragged", "manifold_similarity", "mine_manifold"]
