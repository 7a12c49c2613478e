"""Triton's interpreter, quicker.

Each function that a kernel calls, ``tl.sum`` too, puts its own language in Triton's place, which takes longer than what
it computes. Within a launch, once is enough: nothing puts it back before the end.
"""

from __future__ import annotations


def patch_once():
    """Have functions patch a language once in a launch. What is computed stays Triton's own."""
    import triton.language as tl
    from triton.runtime import interpreter

    function, launch, patch = (
        getattr(interpreter, name, None) for name in ("InterpretedFunction", "GridExecutor", "_patch_lang")
    )
    if None in (function, launch, patch) or not hasattr(function, "rewrite"):
        return  # another version of Triton: slower, and as right
    run = launch.__call__
    patched = set()

    def begin(self, *arguments, **named):
        patched.clear()
        return run(self, *arguments, **named)

    def call(self, *arguments, **named):
        seen = {id(each) for each in self.fn.__globals__.values() if each is tl or each is tl.core}
        if not seen <= patched:
            patch(self.fn)
            patched.update(seen)
        return self.rewrite()(*arguments, **named)

    launch.__call__, function.__call__ = begin, call


def loaded():
    """Load the kernels for Triton's interpreter where there is no GPU: they stay what they are when loaded."""
    import os

    import torch

    if torch.cuda.is_available():
        return
    before = os.environ.get("TRITON_INTERPRET")
    os.environ["TRITON_INTERPRET"] = "1"
    try:
        import fastclust_kernels.assign._triton
        import fastclust_kernels.update._triton  # noqa: F401
    finally:
        if before is None:
            del os.environ["TRITON_INTERPRET"]
        else:
            os.environ["TRITON_INTERPRET"] = before
