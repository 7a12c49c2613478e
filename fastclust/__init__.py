"""fastclust: a learned metric, neighbours, clusters and a map for large unlabelled collections.

``import fastclust as fc`` is light: what is named in ``__init__.pyi`` is imported when it is first used.
"""

import lazy_loader as _lazy

__version__ = "0.1.0.dev0"

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
