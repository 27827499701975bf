from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from streams.interrupts import SIGNALS, Interrupted, Signals, held


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_interrupts_then_does_what_was_said_then_nothing_and_at_last_what_it_did_before(number: signal.Signals) -> None:
    before, heard = signal.getsignal(number), list[str]()
    with Signals() as signals:
        with pytest.raises(Interrupted, match=number.name):
            signal.raise_signal(number)
        signals.handle_with(lambda: heard.append("said"))
        signal.raise_signal(number)
        signals.ignore()
        signal.raise_signal(number)
        assert heard == ["said"] and signals.seen
    assert signal.getsignal(number) == before


@pytest.mark.parametrize("number", SIGNALS)
def test_a_held_signal_comes_afterwards(number: signal.Signals) -> None:
    done = []
    with Signals():
        before = signal.getsignal(number)
        with pytest.raises(Interrupted, match=number.name), held():
            signal.raise_signal(number)
            done.append("whole")
        assert done == ["whole"] and signal.getsignal(number) == before
        with pytest.raises(Interrupted, match=number.name):
            signal.raise_signal(number)


def test_of_several_held_signals_none_is_lost_and_every_handler_is_as_it_was() -> None:
    before, heard = [signal.getsignal(number) for number in SIGNALS], list[int]()

    def hear(number: int, frame: object) -> None:
        heard.append(number)
        raise Interrupted

    try:
        for number in SIGNALS:
            signal.signal(number, hear)
        with pytest.raises(Interrupted), held():
            for number in SIGNALS:
                signal.raise_signal(number)
            assert heard == []
        assert sorted(heard) == sorted(SIGNALS)
        assert all(signal.getsignal(number) is hear for number in SIGNALS)
    finally:
        for number, handler in zip(SIGNALS, before, strict=True):
            signal.signal(number, handler)


def test_a_thread_that_takes_no_signals_holds_none() -> None:
    with ThreadPoolExecutor(1) as thread, Signals():
        before = signal.getsignal(signal.SIGTERM)

        def within() -> object:
            with held():
                return signal.getsignal(signal.SIGTERM)

        assert thread.submit(within).result() == before
