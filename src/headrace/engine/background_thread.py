"""Short work beside the caller, on one thread that lasts."""

import threading
import weakref
from collections.abc import Callable
from queue import SimpleQueue

Work = Callable[[], None]


class BackgroundThread:
    """Runs one function at a time. One caller at a time.

    The thread starts with the first function, and ends after this object is garbage. It is a daemon
    thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._work: SimpleQueue[Work | None] = SimpleQueue()
        self._outcomes: SimpleQueue[BaseException | None] = SimpleQueue()
        self._is_started = False
        self._is_busy = False

    def start(self, work: Work) -> None:
        """Begin ``work``, after what was started before has ended."""
        self.join()
        if not self._is_started:
            self._is_started = True
            queues = (self._work, self._outcomes)
            threading.Thread(target=_run, args=queues, name=self._name, daemon=True).start()
            weakref.finalize(self, self._work.put, None)
        self._is_busy = True
        self._work.put(work)

    def join(self) -> None:
        """Wait until what was started has ended; raises what it raised."""
        if not self._is_busy:
            return
        error = self._outcomes.get()
        self._is_busy = False
        if error is not None:
            raise error


def _run(work: SimpleQueue[Work | None], outcomes: SimpleQueue[BaseException | None]) -> None:
    while (function := work.get()) is not None:
        try:
            function()
        except BaseException as error:
            outcomes.put(error)
        else:
            outcomes.put(None)
        del function
