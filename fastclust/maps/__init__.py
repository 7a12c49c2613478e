"""Maps to look at: t-SNE. The only importer of openTSNE."""

from fastclust.maps.pca import PCA
from fastclust.maps.tsne import TSNE

__all__ = ["PCA", "TSNE"]
