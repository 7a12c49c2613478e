"""The page a person looks at, and the map as a picture."""

from fastclust.report.page import write_report
from fastclust.report.raster import write_map_png
from fastclust.report.thumbnails import make_sprites

__all__ = ["make_sprites", "write_map_png", "write_report"]
