"""No change is missed, whenever a watch begins."""

import threading
import types
from concurrent.futures import ThreadPoolExecutor

from fastclust_server.jobs.notifier import Notifier, Watch
from fastclust_server.jobs.records import QUEUED, SUCCEEDED


class Store:
    """Jobs whose last changes come while the notifier looks: ``meanwhile`` is done once, in the midst of one query."""

    def __init__(self):
        self.number = 1
        self.jobs = {}
        self.meanwhile = lambda: None

    def change(self, job, state):
        self.number += 1
        self.jobs[job] = types.SimpleNamespace(id=job, sequence=self.number, state=state)

    def sequence(self):
        act, self.meanwhile = self.meanwhile, lambda: None
        act()
        return self.number

    def changed_since(self, sequence, only):
        return [one for one in self.jobs.values() if one.sequence > sequence and one.id in only]


def test_a_watch_that_begins_while_others_are_looked_after_is_told_of_the_end():
    store, sent, ended = Store(), [], threading.Event()
    store.change("a", QUEUED)
    store.change("b", QUEUED)
    notifier = Notifier(store)
    with ThreadPoolExecutor(1) as executor:
        notifier.add("a", Watch(0, lambda _record: None, lambda _reason: None, executor))
        late = Watch(store.jobs["b"].sequence, sent.append, lambda _reason: ended.set(), executor)

        def begin_and_change():
            notifier.add("b", late)  # it has read that the job is queued
            store.change("b", SUCCEEDED)

        store.meanwhile = begin_and_change
        seen = notifier._look(store.number)
        notifier._look(seen)
        assert ended.wait(10)
    assert [one.state for one in sent] == [SUCCEEDED]
