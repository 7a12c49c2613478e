"""Blocks on their way to a GPU: none overtakes another, within a pass, between passes, and after one was given up."""

import inspect

import numpy as np
import pytest
import torch

from fastclust_kernels import staging
from tests.kernels.streams import Cuda, Late


def made(eager, of=staging.Staging):
    """A staging of two columns, ten rows a block, whose copies come when their stream gets there."""
    cuda = Cuda(eager)
    made = of(10, 2, torch.float32, torch.device("cpu"), cuda)
    made._there = [each.as_subclass(Late) for each in made._there]
    for each in made._there:
        each.cuda = cuda
    return made, cuda


def passed(made, cuda, first, count, stop=None):
    """One pass over blocks that are each full of their number; what the work on them saw, when it is done."""
    seen, blocks = [], [(turn, np.full((10 - turn % 2, 2), first + turn, np.float32)) for turn in range(count)]
    for turn, there in made.blocks(iter(blocks)):
        cuda.launch(lambda turn=turn, there=there: seen.append((turn, there.as_subclass(torch.Tensor).clone())))
        if turn == stop:
            break
    return [(block[1], turn, seen) for turn, block in enumerate(blocks[: count if stop is None else stop + 1])]


def right(expected):
    for block, turn, seen in expected:
        assert seen[turn][0] == turn
        assert torch.equal(seen[turn][1], torch.from_numpy(block)), (turn, seen[turn][1][0], block[0])


def passes(of, *eager):
    """Passes of all lengths, some given up at each of their blocks, one after the other."""
    for each in eager:
        passes_with(of, each)


def passes_with(of, eager):
    staged, cuda = made(eager, of)
    told = []
    for count in (1, 2, 3, 5):
        for stop in (None, *range(count)):
            told += passed(staged, cuda, 100 * len(told), count, stop)
    cuda.finish()
    right(told)


@pytest.mark.parametrize("eager", ["copies", "work"])
def test_each_work_sees_its_own_block_whatever_the_streams_do(eager):
    passes(staging.Staging, eager)


@pytest.mark.parametrize(
    "line",
    [
        "self._come[place].synchronize()",
        "self._stream.wait_event(self._done[place])",
        "self._current().wait_event(self._come[place])",
        "self._finished(place)\n\n    def _finished",
    ],
)
def test_that_is_seen_where_a_wait_is_missing(line):
    code = inspect.getsource(staging)
    assert line in code
    space = {"__name__": "broken"}
    exec(code.replace(line, line.replace(line.partition("\n")[0], "pass")), space)
    with pytest.raises(AssertionError):
        passes(space["Staging"], "copies", "work")


def test_the_next_block_is_on_its_way_before_this_one_is_worked_on():
    staged, cuda = made("copies")
    for turn, _ in staged.blocks((each, np.full((4, 2), each, np.float32)) for each in range(3)):
        cuda.finish()
        ahead = staged._there[(turn + 1) % 2].as_subclass(torch.Tensor)
        assert turn == 2 or (ahead[:4] == turn + 1).all()


@pytest.mark.parametrize("given_up", [False, True])
def test_after_a_pass_the_stream_has_waited_for_all_copies(given_up):
    """What is freed then, and used again by what is launched next, is written to by none of them."""
    staged, cuda = made("work")
    passed(staged, cuda, 1, 4, stop=1 if given_up else None)
    freed = staged._there[0].as_subclass(torch.Tensor), staged._there[1].as_subclass(torch.Tensor)
    cuda.launch(lambda: [each.fill_(-1) for each in freed])
    cuda.finish()
    assert all((each == -1).all() for each in freed)


def test_memory_that_is_still_worked_on_is_not_copied_into():
    cuda = Cuda("copies")
    before = []
    cuda.launch(lambda: before.append(staged._there[0].as_subclass(torch.Tensor).clone()))
    staged = staging.Staging(10, 2, torch.float32, torch.device("cpu"), cuda)
    staged._there = [torch.zeros(10, 2).as_subclass(Late) for _ in range(2)]
    for each in staged._there:
        each.cuda = cuda
    passed(staged, cuda, 7, 1)
    cuda.finish()
    assert not before[0].any()


def test_a_source_that_fails_leaves_the_staging_as_good_as_new():
    staged, cuda = made("copies")

    def source():
        yield 0, np.ones((10, 2), np.float32)
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        list(staged.blocks(source()))
    told = passed(staged, cuda, 5, 3)
    cuda.finish()
    right(told)
