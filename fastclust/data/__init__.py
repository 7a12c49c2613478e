"""Row sources and image sources: arrays, files and folders behind two small interfaces."""

from fastclust.data.images import ImageSource, open_images
from fastclust.data.labels import Labels, load_labels, read_labels, write_labels
from fastclust.data.results import ResultFolder, write_results
from fastclust.data.rows import open_rows
from fastclust.data.source import RowSource
from fastclust.data.tar import write_image_tar

__all__ = [
    "ImageSource",
    "Labels",
    "ResultFolder",
    "RowSource",
    "load_labels",
    "open_images",
    "open_rows",
    "read_labels",
    "write_image_tar",
    "write_labels",
    "write_results",
]
