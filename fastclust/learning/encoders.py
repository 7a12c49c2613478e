"""Encoders by name: how a net is made for some rows, and made again from a file."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from fastclust.errors import DataError, InputError
from fastclust.learning.networks import EmbeddingNet, Heads, Projection, Student, fit_projection, through
from fastclust.learning.patches import PatchEncoder, learn_patches
from fastclust.learning.residual import SmallResNet
from fastclust.learning.threads import one_thread

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fastclust.learning.inputs import Inputs

__all__ = ["ENCODERS", "Widths", "build", "choose", "describe", "features_of", "rebuild"]

#: On rows; on pixels; and nets whose features of images are the rows.
_ROWS, _PIXELS, _NETS = ("mlp", "linear"), ("patches", "resnet"), ("efficientnet-lite0",)
ENCODERS = (*_ROWS, *_PIXELS, *_NETS)
#: Least side of images that a dictionary of patches is for.
_LEAST = 8
#: Entries of the dictionary, and cells a side that they are counted in.
_PATCHES, _GRID = 200, 4
#: Share of the variances that the projection of patches takes out.
_WHITENING = 0.5
#: Rows that the projection of patches is fitted on.
_SAMPLE = 10_000
_MODULES = {"patches": PatchEncoder, "resnet": SmallResNet}


class Widths(NamedTuple):
    """Widths of the layers of a net."""

    hidden: int
    embedding_dim: int
    teacher_dim: int
    n_components: int


class ModuleBody(nn.Module):
    """A module of the user's, given images ``[b, channels, height, width]`` for rows of pixels."""

    def __init__(self, module: nn.Module, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.module = module
        self._shape = shape

    def forward(self, rows: Tensor) -> Tensor:
        """Return features ``[b, d]``."""
        found: Tensor = self.module(rows.view(-1, *self._shape).permute(0, 3, 1, 2))
        return found.flatten(1)


def features_of(encoder: Any) -> str:
    """Return the features that images are brought to for an encoder; see :func:`compute_features`."""
    if isinstance(encoder, nn.Module) or encoder in _PIXELS:
        return "pixels"
    return encoder if encoder in _NETS or encoder.startswith(("timm:", "hf:")) else "auto"


def choose(encoder: Any, train_encoder: bool | str, inputs: Inputs, *, mined: bool = False) -> tuple[str, bool]:
    """Resolve "auto", for a ``mined`` objective or the other.

    Returns the encoder's name ("module" for a module) and whether it is trained.

    Raises InputError where the encoder is for images and rows came, or has nothing to train.
    """
    shape = inputs.image_shape
    name = "module" if isinstance(encoder, nn.Module) else encoder
    if name == "auto":
        name = "patches" if shape is not None and min(shape[:2]) >= _LEAST else "linear" if mined else "mlp"
    if name in (*_PIXELS, "module"):
        if shape is None:
            raise InputError("encoder", repr(name), f"{', '.join(_ROWS)} for rows", "This one is for images.")
        trained = name != "patches" if train_encoder == "auto" else bool(train_encoder)
        return name, trained
    if name not in _ROWS and inputs.features != name:
        raise InputError("encoder", repr(name), f"{', '.join(_ROWS)} for rows", "This one is for images.")
    if train_encoder is True:
        raise InputError("train_encoder", "True", f'"auto" or False for {name!r}: its features are fixed')
    return name, False


@one_thread()
def build(
    name: str, module: Any, inputs: Inputs, widths: Widths, *, trained: bool, seed: int, mined: bool = False
) -> EmbeddingNet:
    """Make the net for rows: learn its dictionary and projection, draw its heads.

    What is ``mined`` is told by the rows, so that training is to start from what they tell: f from their leading
    principal components, where the heads are given these (figures: bench/README.md, Learning).
    """
    rows, shape = inputs.rows, inputs.image_shape
    front: nn.Module = nn.Identity()
    body: nn.Module = nn.Identity()
    if name == "patches":
        assert shape is not None
        encoder = learn_patches(rows, shape, n_patches=_PATCHES, grid=_GRID, seed=seed)
        sample = torch.from_numpy(rows[:: max(1, len(rows) // _SAMPLE)])
        encoded = through(encoder, sample, "a sample").numpy()
        projection = _projection(encoded, widths.n_components, seed, whitening=_WHITENING)
        both = nn.Sequential(encoder, projection)
        front, body, width = (front, both, projection.width) if trained else (both, body, projection.width)
    elif name in ("resnet", "module"):
        assert shape is not None
        net = SmallResNet(shape, seed=seed) if name == "resnet" else ModuleBody(copy.deepcopy(module).cpu(), shape)
        with torch.no_grad():
            width = net.eval()(torch.from_numpy(rows[:2])).shape[1]
        front, body = (front, net) if trained else (net, body)
    else:
        front = _projection(rows, widths.n_components, seed)
        width = front.width
    encoder_of_heads = "linear" if name in (*_PIXELS, "linear", "module") else "mlp"
    heads = Heads(
        width,
        hidden=widths.hidden,
        embedding_dim=widths.embedding_dim,
        teacher_dim=widths.teacher_dim,
        encoder=encoder_of_heads,
        seed=seed,
    )
    if mined and name in ("patches", "linear"):
        heads.start_from_inputs()
    return EmbeddingNet(front, Student(body, heads))


def _projection(rows: NDArray[np.float32], n_components: int, seed: int, *, whitening: float = 0.0) -> Projection:
    mean, components = fit_projection(rows, n_components, seed, whitening=whitening)
    return Projection(torch.from_numpy(mean), torch.from_numpy(components))


def describe(net: EmbeddingNet) -> dict[str, Any]:
    """Return what :func:`rebuild` needs to make the net's empty form."""
    heads = net.student.heads
    return {
        "front": _parts(net.front),
        "body": _parts(net.student.body),
        "heads": {
            "n_inputs": heads.n_inputs,
            "hidden": heads.f.in_features,
            "embedding_dim": heads.f.out_features,
            "teacher_dim": heads.g.out_features,
            "encoder": "mlp" if len(heads.body) else "linear",
        },
    }


def _parts(module: nn.Module) -> list[list[Any]]:
    parts = list(module) if isinstance(module, nn.Sequential) else [module]
    names = {kind: name for name, kind in _MODULES.items()} | {Projection: "projection", ModuleBody: "module"}
    return [[names[type(part)], getattr(part, "config", None)] for part in parts if type(part) in names]


def rebuild(stored: dict[str, Any], module: Any, image_shape: tuple[int, int, int] | None) -> EmbeddingNet:
    """Make the net that :func:`describe` described, with weights that mean nothing yet.

    Raises DataError where the stored net has a module of the user's and ``module`` is none.
    """

    def made(parts: list[list[Any]]) -> nn.Module:
        modules: list[nn.Module] = []
        for name, config in parts:
            if name == "projection":
                modules.append(Projection(torch.zeros(config["shape"][0]), torch.zeros(config["shape"])))
            elif name == "module":
                if not isinstance(module, nn.Module) or image_shape is None:
                    raise DataError("the learner has an encoder of your own: load it with load(path, encoder=module).")
                modules.append(ModuleBody(copy.deepcopy(module).cpu(), image_shape))
            else:
                shape = tuple(config["shape"])
                modules.append(_MODULES[name](**{**config, "shape": shape}))
        if not modules:
            return nn.Identity()
        return modules[0] if len(modules) == 1 else nn.Sequential(*modules)

    heads = Heads(**stored["heads"], seed=0)
    return EmbeddingNet(made(stored["front"]), Student(made(stored["body"]), heads))
