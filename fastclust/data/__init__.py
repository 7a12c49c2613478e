"""Row sources and image sources: arrays, files and folders behind two small interfaces."""

from fastclust.data.images import ImageSource, open_images
from fastclust.data.labels import load_labels
from fastclust.data.rows import RowSource, open_rows
from fastclust.data.tar import write_image_tar

__all__ = ["ImageSource", "RowSource", "load_labels", "open_images", "open_rows", "write_image_tar"]
