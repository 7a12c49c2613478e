"""The estimator: a metric learned from rows or images without labels."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from fastclust.data.mapping import Mapped, mapping
from fastclust.errors import InputError
from fastclust.learning import encoders, ranks, storage
from fastclust.learning.checkpoint import keeper_of
from fastclust.learning.checks import check_loss, check_params
from fastclust.learning.devices import choose_device
from fastclust.learning.inputs import Inputs, check_labels, read_inputs
from fastclust.learning.losses import ContrastiveLoss, TripletLoss
from fastclust.learning.objectives import Supervision
from fastclust.learning.plan import plan_of
from fastclust.learning.seeds import seed_of
from fastclust.learning.sessions import train
from fastclust.learning.validation import held_out, split
from fastclust.progress import as_part

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["SelfTaughtLearner"]

#: Part of the progress of learning that making the encoder is.
_ENCODER_SHARE = 0.1
#: Principal components that "auto" takes.
_PATCH_COMPONENTS, _ROW_COMPONENTS = 400, 64


class SelfTaughtLearner(TransformerMixin, BaseEstimator):
    """Embedding whose distances say what belongs together, taught by its own earlier self; labels are never seen.

    Two heads f (the embedding) and g are trained on an encoder with relaxed contrastive losses and self-distillation
    (Kim, Kim, Cho, Kwak, "Self-Taught Metric Learning without Labels", CVPR 2022). To the contextual similarity of a
    batch comes one along the neighbour graph of the whole data set. The second objective trains on hard positives
    and negatives that are mined on the manifold (Iscen et al., CVPR 2018).

    Parameters
    ----------
    encoder
        For rows: "mlp" (principal components, then one hidden layer) or "linear" (without it). For small images:
        "patches" (a dictionary of patches by k-means, its principal components) or "resnet" (a small residual net).
        For images of any size, the features of a fixed net and then "mlp": "efficientnet-lite0", "timm:NAME" or
        "hf:NAME". A ``torch.nn.Module`` from images ``[b, c, h, w]`` (rows of length 1) to ``[b, d]``. "auto":
        "patches" for images of 8 to 64 pixels a side, else "mlp" ("linear" for a mined objective) on what
        :func:`compute_features` takes. The choice is in ``encoder_``.
    embedding_dim, teacher_dim, hidden
        Widths of f, g and the hidden layer.
    train_encoder
        Whether the encoder's weights are trained too, or the heads only. "auto": yes for "resnet" and a module, no
        for "patches". Fixed features cannot be trained.
    n_components
        Principal components that the heads are given; fewer where the rows have less rank. "auto": 400 of patches,
        64 of rows.
    objective
        "self_taught", or mined on the manifold: "manifold_triplet", "manifold_contrastive". A mined objective goes out
        from the rows' leading principal components where the heads are given components ("patches", "linear").
    epochs
        Times that every row is a query; "auto": as many as make about 1,500 steps, from 1 to 6.
    batch_size
        Rows in a batch before views.
    n_nearest
        Rows that a query brings, itself included.
    n_views
        Views of each row in a batch.
    sigma, margin, temperature
        Of the similarity, the contrastive and the distillation loss.
    context_weight
        Share in [0, 1] of the similarity along the data set's graph; 0 is the method as published.
    learning_rate, weight_decay
        Of AdamW, with a cosine schedule. "auto": 1e-3, and 1e-4 for a mined objective, which is to mend what it starts
        from; fine_tune takes 1e-3.
    momentum
        Of the teacher's moving average.
    augment
        Strength of the random shifts, turns and scalings of images.
    accumulate
        Batches whose mean gradient makes one step. In a torch.distributed process group (torchrun, or
        ``fastclust.distributed.train``) each process does its share of ``accumulate * processes`` batches. While the
        first builds a graph the others wait: give ``init_process_group`` a ``timeout`` that is longer (it is 30 minutes
        by itself, 10 for NCCL), and on GPUs call ``torch.cuda.set_device`` first.
    precision
        "full", or "bf16": mixed precision by torch.autocast.
    validation
        Share of the rows that is held out of training, of fit and of fine_tune alike. What is kept is then the state
        after the epoch that did best on them, by recall@1 of the labels where there are some, else by how many changed
        copies find their row again; 0: the state after the last epoch.
    use_context, use_g, use_distillation
        Parts of the self-taught loss that may be left out: W^C, the second head, its distillation.
    device
        Where the net is trained and asked: "cpu", "cuda", "cuda:1", or another device of torch. "auto" is the CPU,
        as no training on a GPU was timed. Graphs, mining and the dictionary of "patches" are made on the CPU.
    random_state
        None, an int or a RandomState. The same seed gives the same bits on a CPU.

    Attributes
    ----------
    encoder_, trained_, device_, n_features_in_, n_epochs_
        What was chosen and given; ``trained_`` says whether the encoder was trained.
    features_, image_size_, image_shape_
        What was computed from images ("given" for rows), and their size.
    views_
        Where views came from: "images", "given" or "neighbors" (each row moved towards a random near neighbour).
    loss_curve_
        Mean loss of each epoch.
    validation_curve_
        Score of each epoch on the rows held out; empty without any.
    """

    def __init__(
        self,
        encoder: Any = "auto",
        embedding_dim: int = 128,
        *,
        train_encoder: bool | str = "auto",
        objective: str = "self_taught",
        teacher_dim: int = 512,
        hidden: int = 256,
        n_components: int | str = "auto",
        epochs: int | str = "auto",
        batch_size: int = 240,
        n_nearest: int = 5,
        n_views: int = 2,
        sigma: float = 3.0,
        margin: float = 1.0,
        temperature: float = 1.0,
        context_weight: float = 0.3,
        learning_rate: float | str = "auto",
        weight_decay: float = 1e-2,
        momentum: float = 0.99,
        augment: float = 1.0,
        accumulate: int = 1,
        precision: str = "full",
        validation: float = 0.0,
        use_context: bool = True,
        use_g: bool = True,
        use_distillation: bool = True,
        device: str = "auto",
        random_state: Any = None,
    ) -> None:
        self.encoder = encoder
        self.embedding_dim = embedding_dim
        self.train_encoder = train_encoder
        self.objective = objective
        self.teacher_dim = teacher_dim
        self.hidden = hidden
        self.n_components = n_components
        self.epochs = epochs
        self.batch_size = batch_size
        self.n_nearest = n_nearest
        self.n_views = n_views
        self.sigma = sigma
        self.margin = margin
        self.temperature = temperature
        self.context_weight = context_weight
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.momentum = momentum
        self.augment = augment
        self.accumulate = accumulate
        self.precision = precision
        self.validation = validation
        self.use_context = use_context
        self.use_g = use_g
        self.use_distillation = use_distillation
        self.device = device
        self.random_state = random_state

    def fit(
        self,
        X: Any,
        y: Any = None,  # noqa: ARG002 - scikit-learn's signature
        *,
        views: Any = None,
        image_shape: Any = None,
        checkpoint: Any = None,
        log: Any = None,
    ) -> Self:
        """Learn from rows or images.

        Parameters
        ----------
        X
            Rows ``[n, d]``, images (uint8 ``[n, h, w]`` or ``[n, h, w, c]``, or an ImageSource), or a FeatureSet.
        y
            Not looked at.
        views
            ``[n, v, d]``: features of changed copies of each row.
        image_shape
            (height, width, channels) where rows are flattened pixels: views are then drawn as for images. Known for
            images and FeatureSets of pixels.
        checkpoint
            A folder where training is kept. Fitted again with the same folder, rows and parameters (with an integer
            as ``random_state``), it goes on from there, on a CPU to the same bits.
        log
            A folder for TensorBoard (needs the package tensorboard), or a callable (name, value, step). Figures:
            "loss" and "learning_rate" of each step; "mining_seconds", "epoch_seconds" (with these) and "validation"
            (where rows are held out) of each epoch.

        Raises
        ------
        BackendError
            The device is not there.
        InputError, InputTypeError
            Parameters out of range; fewer than 2 rows, NaN, a wrong shape or dtype; rows that are all equal.
        PreconditionError
            The checkpoint is of another run; mining found nothing to train on.
        MissingPackageError
            The encoder's or the log's package is not installed.
        """
        check_params(self)
        wanted = encoders.features_of(self.encoder)
        inputs = read_inputs(X, views, image_shape, features=wanted, device=self.device)
        rows = inputs.rows
        if len(rows) < 2:
            raise InputError("X", f"{len(rows)} row", "at least 2 rows")
        mined = self.objective != "self_taught"
        name, trained = encoders.choose(self.encoder, self.train_encoder, inputs, mined=mined)
        seed = seed_of(self.random_state)
        given, (inputs, held) = inputs, split(inputs, self.validation, seed)
        widths = encoders.Widths(self.hidden, self.embedding_dim, self.teacher_dim, self._components(name))
        with as_part("learn", "kmeans", 0.0, _ENCODER_SHARE):
            net = ranks.from_first(
                lambda: encoders.build(name, self.encoder, inputs, widths, trained=trained, seed=seed, mined=mined)
            ).to(choose_device(self.device))
        plan = plan_of(self, len(inputs.rows), seed)
        keeper = keeper_of(self, checkpoint, given)
        with as_part("learn", "learn", _ENCODER_SHARE, 1.0):
            curve, scores = train(net, inputs, plan, augment=self.augment, checkpoint=keeper, log=log, held=held)
        self._net = net
        self.encoder_, self.trained_ = name, trained
        self.device_ = str(net.device)
        self.n_features_in_ = rows.shape[1]
        self.n_epochs_ = plan.epochs
        self.features_ = inputs.features
        self.image_size_ = inputs.image_size
        self.image_shape_ = inputs.image_shape
        self.views_ = _views_name(inputs)
        self.loss_curve_, self.validation_curve_ = curve, scores
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Return the embedding, float32 ``[n, embedding_dim]``, of length 1.

        Takes what fit takes; after a fit on images, also the rows of pixels or features made of them.
        Raises NotFittedError, InputError, InputTypeError.
        """
        check_is_fitted(self, "encoder_")
        # torch warns of memory that it may not write to, such as a mapped file.
        rows = np.require(self.inputs(X).rows, requirements="W")
        self._to(self.device)
        embedded: NDArray[np.float32] = self._net.embed(torch.from_numpy(rows)).numpy()
        return embedded

    def transform_to(self, X: Any, folder: str | os.PathLike[str]) -> list[Path]:
        """Write the embedding of the rows ``X`` ``[n, d]``, which may be larger than memory.

        Parquet files of ``row`` and ``embedding``. Each appears whole; called again after a kill, what is missing is
        written. Raises PreconditionError for a folder with other results.
        """
        return mapping(X, folder, *self.mapped()).write()

    def mapped(self) -> Mapped:
        """Return what :meth:`transform_to` writes, for those who write it elsewhere."""
        check_is_fitted(self, "encoder_")
        weights = [tensor.detach().cpu().numpy() for tensor in self._net.state_dict().values()]
        return Mapped(self.transform, "embedding", weights)

    def fine_tune(
        self,
        X: Any,
        labels: Any,
        *,
        loss: str = "contrastive",
        epochs: int | str = "auto",
        views: Any = None,
        image_shape: Any = None,
        checkpoint: Any = None,
        log: Any = None,
    ) -> Self:
        """Go on from what was learned, now with labels for some of the rows.

        The self-taught loss stays. Each epoch the labels are spread along the neighbour graph, and a supervised loss
        comes to it, in which each pair of rows counts by the confidence in both their labels (1 where known).

        Parameters
        ----------
        X, views, image_shape, checkpoint, log
            As in fit. The image shape of fit is taken where none is given.
        labels
            int ``[n]``; -1 where unknown.
        loss
            "contrastive" (plain hinge, margin 1) or "triplet" (margin 0.2).
        epochs
            As in ``__init__``.

        Raises
        ------
        NotFittedError, InputError, InputTypeError
            Not fitted; labels of another length or fewer than two different ones; as in fit.
        """
        check_is_fitted(self, "encoder_")
        check_params(self, epochs)
        check_loss(loss)
        inputs = self.inputs(X, views, image_shape)
        if len(inputs.rows) < 2:
            raise InputError("X", f"{len(inputs.rows)} row", "at least 2 rows")
        known = check_labels(labels, len(inputs.rows))
        seed = seed_of(self.random_state)
        keeper = keeper_of(self, checkpoint, inputs, labels=known, loss=loss)
        self._to(self.device)
        chosen = held_out(len(known), self.validation, seed)
        inputs, held = split(inputs, self.validation, seed)
        added = ContrastiveLoss(0.0, 1.0) if loss == "contrastive" else TripletLoss(0.2)
        supervision = Supervision(added, check_labels(known[~chosen], len(inputs.rows)))
        plan = plan_of(self, len(inputs.rows), seed, epochs, "self_taught")
        self.loss_curve_, self.validation_curve_ = train(
            self._net,
            inputs,
            plan,
            supervision,
            augment=self.augment,
            checkpoint=keeper,
            log=log,
            held=held,
            held_labels=known[chosen],
        )
        return self

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write parameters and weights as one safetensors file, without pickle."""
        check_is_fitted(self, "encoder_")
        storage.save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, encoder: Any = None, device: str = "auto") -> Self:
        """Read what :meth:`save` wrote; ``encoder`` is the module of a learner that had one of the user's.

        ``device`` is where it is asked and fine-tuned from now on, wherever it was trained.
        Raises NotFoundError, DataError, BackendError.
        """
        choose_device(device)
        learner = cls()
        storage.load_into(learner, path, encoder)
        learner.device = device
        learner._to(device)
        return learner

    def _to(self, device: str) -> None:
        """Have the net where it is asked: the parameter may have changed since it was trained."""
        self._net.to(choose_device(device))
        self.device_ = str(self._net.device)

    def __getstate__(self) -> dict[str, Any]:
        """Pickled, the net is on the CPU: whoever opens it may have no GPU. It goes to ``device`` when it is asked."""
        state: dict[str, Any] = dict(super().__getstate__())
        if "_net" in state and state["_net"].device.type != "cpu":
            state |= {"_net": copy.deepcopy(state["_net"]).cpu(), "device_": "cpu"}
        return state

    def inputs(self, X: Any, views: Any = None, image_shape: Any = None) -> Inputs:
        """Return ``X`` ``[n, d]`` as a fitted learner takes it: float32. Raises InputError, InputTypeError."""
        features = "auto" if self.features_ == "given" else self.features_
        inputs = read_inputs(X, views, image_shape, features=features, size=self.image_size_, device=self.device)
        if inputs.rows.shape[1] != self.n_features_in_:
            raise InputError("X", f"{inputs.rows.shape[1]} columns", f"{self.n_features_in_}, as in fit")
        return inputs if inputs.image_shape else inputs._replace(image_shape=self.image_shape_)

    def _components(self, name: str) -> int:
        if isinstance(self.n_components, str):
            return _PATCH_COMPONENTS if name == "patches" else _ROW_COMPONENTS
        return self.n_components

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


def _views_name(inputs: Inputs) -> str:
    if inputs.views is not None:
        return "given"
    return "neighbors" if inputs.image_shape is None else "images"
