"""Numeric kernels of fastclust: distances, assignment, update. Imports no other part of the project."""
