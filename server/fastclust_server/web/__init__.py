"""The page of ``--web``: an owner's jobs, their progress, a button that cancels, and the reports of finished runs."""

from fastclust_server.web.site import Site

__all__ = ["Site"]
