"""All cases, by name: each module of this folder that has a ``CASE``."""

import importlib
import pkgutil

__all__ = ["ALL"]

_MODULES = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]

ALL = {module.CASE.name: module.CASE for module in _MODULES if hasattr(module, "CASE")}
