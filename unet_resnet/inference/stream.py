"""How do reading, predicting and writing overlap, with few pictures in memory?"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


def read_ahead(read: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[tuple[Any, Future]]:
    """Each item with the future of `read(item)`, while the next one is already being read."""
    pool, waiting = ThreadPoolExecutor(1), deque()
    try:
        for item in items:
            waiting.append((item, pool.submit(read, item)))
            if len(waiting) > 1:
                yield waiting.popleft()
        yield from waiting
    finally:
        pool.shutdown(cancel_futures=True)


class WriteBehind:
    """Runs functions in order in a thread of its own, one waiting at the most.

    `settle` is called in the caller's thread with each one's future. Used in a `with` block, whose
    end waits for the last.
    """

    def __init__(self, settle: Callable[[Any, Future], None]) -> None:
        self._settle, self._pool = settle, ThreadPoolExecutor(1)
        self._waiting: deque[tuple[Any, Future]] = deque()

    def __enter__(self) -> "WriteBehind":
        return self

    def submit(self, item: Any, function: Callable[..., Any], *arguments: Any) -> None:
        self._waiting.append((item, self._pool.submit(function, *arguments)))
        while len(self._waiting) > 1:
            self._settle(*self._waiting.popleft())

    def wait(self) -> None:
        """Until nothing waits."""
        while self._waiting:
            self._settle(*self._waiting.popleft())

    def __exit__(self, *_: object) -> None:
        self.wait()
        self._pool.shutdown()
