"""Maps to look at: t-SNE. The only importer of openTSNE."""

from fastclust.maps.tsne import TSNE

__all__ = ["TSNE"]
