"""Workers for tests, without processes."""

from collections import deque

from mirage_data.crew import Outcome


class Here:
    """A worker in this process."""

    def __init__(self, make, devices):
        self._worker, self._told = make('cpu'), deque([(0, Outcome())])

    def give(self, number, task):
        self._told.append((number, self._worker.work(task)))

    def wait(self, seconds):
        return [self._told.popleft()] if self._told else []

    def close(self):
        self._worker.close()
