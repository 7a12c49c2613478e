"""What to do about clusters: near-duplicates, rows that fit nowhere, what to label first and what follows from that."""

from fastclust.insight.choice import KChoice, KPoint, choose_k
from fastclust.insight.duplicates import DuplicateEvidence, duplicate_evidence, near_duplicates
from fastclust.insight.labels import PropagatedLabels, propagate_labels
from fastclust.insight.outliers import outliers
from fastclust.insight.representatives import representatives

__all__ = [
    "DuplicateEvidence",
    "KChoice",
    "KPoint",
    "PropagatedLabels",
    "choose_k",
    "duplicate_evidence",
    "near_duplicates",
    "outliers",
    "propagate_labels",
    "representatives",
]
