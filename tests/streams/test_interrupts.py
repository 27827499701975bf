from __future__ import annotations

import signal

import pytest

from streams.interrupts import SIGNALS, Interrupted, Signals, held


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_interrupts_then_does_what_was_said_then_nothing_and_at_last_what_it_did_before(number: signal.Signals) -> None:
    before, heard = signal.getsignal(number), list[str]()
    with Signals() as signals:
        with pytest.raises(Interrupted, match=number.name):
            signal.raise_signal(number)
        signals.then(lambda: heard.append("said"))
        signal.raise_signal(number)
        signals.calm()
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
