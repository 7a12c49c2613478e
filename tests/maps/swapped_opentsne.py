"""A pytest plugin: openTSNE's tests find our estimator where they import theirs from.

Names and conventions are translated and nothing else: ``fit`` returns the points, which can place new rows;
``n_iter`` leaves the early iterations out; a perplexity that is too large for the rows is lowered, where ours raises.
"""

import inspect

import numpy as np
import openTSNE
import openTSNE.sklearn

import fastclust

_KNOWN = set(inspect.signature(fastclust.TSNE.__init__).parameters)
#: How openTSNE computes, not what.
_INSIDE = {"negative_gradient_method", "dof"}


class Points(np.ndarray):
    """The points of a map, with the model that made them."""

    def transform(self, X, **kwargs):
        return self.model.transform(X)

    def __reduce__(self):
        return _with_model, (np.asarray(self), self.model)


def _with_model(points, model):
    found = points.view(Points)
    found.model = model
    return found


def _ours(X, n_iter=500, early_exaggeration_iter=250, perplexity=30, neighbors="auto", exaggeration=None, **params):
    unknown = set(params) - _KNOWN - _INSIDE
    if unknown or params.get("dof", 1) != 1:
        raise NotImplementedError(f"not translated: {params}")
    params = {name: value for name, value in params.items() if name not in _INSIDE}
    most = (len(X) - 1) / 3
    return fastclust.TSNE(
        perplexity=min(perplexity, most) if np.isscalar(perplexity) else [min(each, most) for each in perplexity],
        max_iter=n_iter + early_exaggeration_iter,
        early_exaggeration_iter=early_exaggeration_iter,
        late_exaggeration=exaggeration or 1,
        neighbors="auto" if neighbors == "approx" else neighbors,
        **params,
    ).fit(X)


class TSNE:
    """Our estimator under openTSNE's names."""

    def __init__(self, **params):
        given = params.get("initialization", "pca")
        if not isinstance(given, str) and np.ndim(given) == 2 and np.shape(given)[1] != params.get("n_components", 2):
            raise ValueError("openTSNE looks at the start's columns when it is made, ours when it fits")
        self.params = params
        self.callbacks = params.pop("callbacks", None)

    def fit(self, X, initialization=None):
        given = {} if initialization is None else {"initialization": initialization}
        model = _ours(np.asarray(X), **self.params | given, callbacks=self.callbacks)
        return _with_model(model.embedding_, model)

    def prepare_initial(self, X):
        early = TSNE(**self.params | {"n_iter": 0, "early_exaggeration_iter": 0})
        return early.fit(X)


class ScikitLearnsTSNE(TSNE):
    """The same, as openTSNE.sklearn has it."""

    def fit(self, X):
        self.embedding_ = super().fit(X)
        return self

    def fit_transform(self, X):
        return np.asarray(self.fit(X).embedding_)

    def transform(self, X):
        return np.asarray(self.embedding_.transform(X))


openTSNE.TSNE = TSNE
openTSNE.sklearn.TSNE = ScikitLearnsTSNE
