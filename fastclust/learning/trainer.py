"""The training loop: an epoch's graph, its batches, the optimiser, the teacher; resumable, and over many processes."""

from __future__ import annotations

import math
import time
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from fastclust.errors import PreconditionError
from fastclust.learning import ranks
from fastclust.learning.context import Context, dataset_context
from fastclust.learning.devices import sent, where
from fastclust.learning.networks import through
from fastclust.learning.objectives import Supervision, make_objective
from fastclust.learning.remembered import Remembered
from fastclust.learning.teacher import follow, teacher_of
from fastclust.learning.threads import one_thread
from fastclust.progress import report

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from fastclust.learning.checkpoint import Checkpoint
    from fastclust.learning.networks import Student
    from fastclust.learning.plan import Plan
    from fastclust.learning.validation import Validation
    from fastclust.learning.views import Views

__all__ = ["Trainer"]

#: Neighbours in the graph that the context is computed from.
GRAPH_NEIGHBORS = 15
_COORDINATES = 32


class Trainer:
    """Trains a student on rows; its state is what a checkpoint holds.

    Parameters
    ----------
    student
        Trained in place, on its device.
    rows
        What the student is given of each row, ``[n, p]``, there or on the host.
    start
        What rows are known by before training, ``[n, q]``: the first graph is built from it.
    make_views
        Called once with the first epoch's context.
    plan, supervision
        See :class:`Plan` and :class:`Supervision`.
    log
        Called with (name, value, step) for each figure, where given: "loss" and "learning_rate" of each step, and of
        each epoch "mining_seconds" (graph, coordinates, pools) and "epoch_seconds" (with mining), and "validation".
    validation
        What judges an epoch; the student ends as it was after the best one, the first of equals.
    """

    def __init__(
        self,
        student: Student,
        rows: Tensor,
        start: NDArray[np.float32],
        make_views: Callable[[NDArray[np.int64]], Views],
        plan: Plan,
        supervision: Supervision | None = None,
        log: Callable[[str, float, int], None] | None = None,
        validation: Validation | None = None,
    ) -> None:
        self.student, self.teacher, self.device = student, teacher_of(student), where(student)
        self.rows, self.plan = rows, plan
        self.optimiser = torch.optim.AdamW(
            student.parameters(),
            lr=plan.learning_rate,
            weight_decay=plan.weight_decay,
            foreach=False if self.device.type == "cpu" else None,
        )
        self.objective = make_objective(plan, supervision, start, self.device)
        self.epoch, self.step = 0, 0
        #: Sum of the epoch's losses, float64, where the net is: nobody waits for it.
        self.total = torch.zeros((), dtype=torch.float64, device=self.device)
        self.history: list[float] = []
        #: Of each epoch, where there is something to judge it by; and the student after the best one.
        self.scores: list[float] = []
        self.best: dict[str, Tensor] | None = None
        self._validation = validation
        #: The epoch's context, and the neighbours of the first one.
        self.context: Context | None = None
        self.first: NDArray[np.int64] | None = None
        #: The objective's negatives, while an epoch runs.
        self.hardest: NDArray[np.int64] | None = None
        #: What steps said of rows, where an objective asks for it and an encoder is trained: heads alone embed quickly.
        trained = not isinstance(student.body, nn.Identity)
        self.remembered = Remembered(len(rows)) if trained and self.objective.needs_embedding else None
        self._start, self._supervision, self._log = start, supervision, log
        self._make_views = make_views
        self._views: Views | None = None
        #: Seconds that the epoch's graph took, 0 where a checkpoint held it.
        self._looked = 0.0

    def run(self, checkpoint: Checkpoint | None = None) -> list[float]:
        """Train to the end of the plan; return each epoch's mean loss.

        With a checkpoint it goes on from where that is, and keeps its state there.
        """
        if checkpoint is not None:
            checkpoint.restore(self)
            self._check_same()
        while self.epoch < self.plan.epochs:
            if self.context is None:
                started = time.perf_counter()
                self.context = ranks.from_first(partial(self._look, self.epoch))
                self._looked = time.perf_counter() - started
                self.first = self.context.neighbors if self.first is None else self.first
                if checkpoint is not None:
                    checkpoint.keep(self)
            self._run_epoch(checkpoint)
            self._judge(checkpoint)
            self.epoch, self.step, self.context, self.hardest = self.epoch + 1, 0, None, None
            self.total = torch.zeros_like(self.total)
        if self.best is not None:
            self.student.load_state_dict(self.best)
        self.student.eval()
        return self.history

    def _check_same(self) -> None:
        """Raise PreconditionError, in all processes, unless they stand at one place: they would wait for each other."""
        states = ranks.each((self.epoch, self.step, self.context is not None))
        if len(set(states)) > 1:
            said = ", ".join(f"process {rank}: epoch {one[0] + 1}, step {one[1]}" for rank, one in enumerate(states))
            raise PreconditionError(
                f"checkpoint: processes found different states ({said}). Take a folder that all of them see."
            )

    def _run_epoch(self, checkpoint: Checkpoint | None) -> None:
        plan, context = self.plan, self.context
        assert context is not None
        assert self.first is not None
        started = time.perf_counter()
        batches = self.objective.begin(self.epoch, context, self._described, self.hardest)
        if self.remembered is not None and self.hardest is None:
            self.remembered.forget()
        self.hardest = self.objective.hardest
        mining = self._looked + time.perf_counter() - started
        self._views = self._views or self._make_views(self.first)
        together = plan.accumulate * ranks.world()
        steps = max(1, batches // together)
        self.student.train()
        self.teacher.train()
        shown = float("nan")
        with one_thread():
            while self.step < steps:
                rate = _rate(plan, self.epoch * steps + self.step, plan.epochs * steps)
                loss = self._update([(self.step * together + place) % batches for place in range(together)], rate)
                self.total = self.total + loss
                # A GPU is asked for its loss now and then: the answer waits for all that it was given to do.
                shown = float(loss) if self.step % 10 == 0 else shown
                self.step += 1
                done = self.epoch * steps + self.step
                report("learn", done, plan.epochs * steps, f"epoch {self.epoch + 1} loss {shown:.4f}")
                if self._log is not None:
                    self._log("loss", float(loss), done)
                    self._log("learning_rate", rate, done)
                if checkpoint is not None and checkpoint.due(self.step):
                    checkpoint.keep(self)
        ranks.same_buffers(self.student)
        ranks.same_buffers(self.teacher)
        self.history.append(float(self.total) / steps)
        if self._log is not None:
            self._log("mining_seconds", mining, self.epoch + 1)
            self._log("epoch_seconds", self._looked + time.perf_counter() - started, self.epoch + 1)
        self._looked = 0.0

    def _judge(self, checkpoint: Checkpoint | None) -> None:
        if self._validation is None:
            return
        score = self._validation.score(self.student)
        if self._log is not None:
            self._log("validation", score, self.epoch + 1)
        if not self.scores or score > max(self.scores):
            self.best = {name: value.clone() for name, value in self.student.state_dict().items()}
            if checkpoint is not None:
                checkpoint.keep_best(self.best, self.epoch, score)
        self.scores.append(score)

    def _update(self, numbers: list[int], rate: float) -> Tensor:
        """One step of the optimiser over some batches, of which this process does its share; return its mean loss."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        own = numbers[ranks.rank() :: ranks.world()]
        total = torch.zeros_like(self.total)
        for number in own:
            loss = self._loss(number) / len(own)
            loss.backward()  # type: ignore[no-untyped-call]
            total = total + loss.detach()
        ranks.average_gradients(self.student)
        self.optimiser.step()
        follow(self.teacher, self.student, self.plan.momentum)
        return total

    def _loss(self, number: int) -> Tensor:
        assert self._views is not None
        batch = self.objective.batch(number)
        # A batch's own generator: what is drawn does not depend on what ran before it, here or in another process.
        state = np.random.SeedSequence([self.plan.seed, self.epoch, number]).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(state[0] >> 1))
        drawn = sent(self._views.draw(batch.rows, generator), self.device)
        with self._casting():
            student = self.student(drawn)
            teacher = None
            if self.objective.needs_teacher:
                with torch.no_grad():
                    teacher = self.teacher(drawn)[1].float()
        f = student[0].float()
        if self.remembered is not None:
            self.remembered.note(batch.rows, f)
        return self.objective.loss(batch, (f, student[1].float()), teacher)

    def _casting(self) -> AbstractContextManager[Any]:
        if self.plan.precision == "bf16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()

    def _look(self, epoch: int) -> Context:
        """Build the epoch's graph from the teacher's g, the first one from what rows are known by before.

        An objective that looks at none has the neighbours that it mined, which views may be made from, for all epochs.
        """
        tick = partial(report, "learn", epoch, self.plan.epochs, f"epoch {epoch + 1} graph")
        tick()
        wide = max(GRAPH_NEIGHBORS, self.plan.n_nearest - 1)
        known = self.objective.neighbors()
        if known is not None:
            return Context(known[:, :wide], np.empty((len(known), 0), np.float32))
        return dataset_context(
            self._start if epoch == 0 else self._embedded(self.teacher, 1, self.rows),
            n_neighbors=wide,
            n_coordinates=_COORDINATES,
            seed=self.plan.seed,
            tick=tick,
            labels=None if self._supervision is None else self._supervision.labels,
        )

    def _described(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        def embed(some: NDArray[np.int64]) -> NDArray[np.float32]:
            return self._embedded(self.student, 0, self.rows[sent(torch.from_numpy(some), self.rows.device)])

        return embed(rows) if self.remembered is None else self.remembered.described(rows, embed)

    def _embedded(self, module: nn.Module, head: int, rows: Tensor) -> NDArray[np.float32]:
        module.eval()
        chunk = 4096 if rows.shape[1] <= 1024 and isinstance(self.student.body, nn.Identity) else 64
        found = through(
            lambda part: nn.functional.normalize(module(part)[head], dim=1), rows, chunk=chunk, device=self.device
        )
        embedded: NDArray[np.float32] = found.numpy()
        return embedded


def _rate(plan: Plan, step: int, steps: int) -> float:
    """Cosine schedule from the learning rate to 0."""
    return plan.learning_rate * 0.5 * (1 + math.cos(math.pi * step / steps))
