"""The page a person looks at, the map as a picture, and two runs beside each other."""

from fastclust.report.comparison import Comparison, compare_runs, write_comparison
from fastclust.report.page import write_report
from fastclust.report.raster import write_map_png
from fastclust.report.thumbnails import make_sprites

__all__ = ["Comparison", "compare_runs", "make_sprites", "write_comparison", "write_map_png", "write_report"]
