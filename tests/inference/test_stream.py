"""Reading and writing run beside the work, in order, with few items waiting."""

import threading

import pytest

from unet_resnet.inference.stream import WriteBehind, read_ahead


def test_one_item_is_read_ahead_and_no_more():
    begun = {i: threading.Event() for i in range(5)}

    def read(i):
        begun[i].set()
        return i * i

    for i, future in read_ahead(read, range(5)):
        assert future.result() == i * i
        if i < 4:
            assert begun[i + 1].wait(5), "the next one is not being read meanwhile"
        assert not any(begun[later].is_set() for later in range(i + 2, 5))


def test_a_failure_belongs_to_its_item():
    results = {}
    for i, future in read_ahead(lambda i: 6 // i, [1, 0, 3]):
        results[i] = future.exception() or future.result()
    assert results[1] == 6 and results[3] == 2 and isinstance(results[0], ZeroDivisionError)


def test_reading_ends_with_the_loop():
    before, seen = threading.active_count(), []
    for i, _ in read_ahead(seen.append, range(1000)):
        break
    assert len(seen) <= 3
    assert list(read_ahead(seen.append, [])) == []
    assert threading.active_count() <= before + 1  # the generator that was left lives until later


def test_writes_keep_their_order_and_settle_here():
    order, settled = [], []
    with WriteBehind(lambda item, future: settled.append(
            (item, future.exception() or future.result(), threading.current_thread()))) as writer:
        for i in range(6):
            writer.submit(i, order.append, i)
            assert len(settled) >= i, "more than one waits"
    assert order == list(range(6)) and [item for item, *_ in settled] == order
    assert all(result is None and thread is threading.main_thread()
               for _, result, thread in settled)


def test_an_error_in_the_loop_lets_what_was_begun_end():
    order = []
    with pytest.raises(KeyError), WriteBehind(lambda item, future: None) as writer:
        writer.submit(1, order.append, 1)
        raise KeyError
    assert order == [1]
