"""Doing several slow things at once."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_parallel(workers: int, function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Results of `function` for all items, in their order. The first error ends the wait and is raised."""
    pool = ThreadPoolExecutor(workers)
    try:
        results = list(pool.map(function, items))
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()
    return results
