"""What to do about clusters: near-duplicates, rows that fit nowhere, and what to label first."""

from fastclust.insight.duplicates import DuplicateEvidence, duplicate_evidence, near_duplicates
from fastclust.insight.outliers import outliers
from fastclust.insight.representatives import representatives

__all__ = ["DuplicateEvidence", "duplicate_evidence", "near_duplicates", "outliers", "representatives"]
