"""Users who have not acted for long are forgotten, by event time.

A user has one timer. It is set when the state begins, and when it comes due the newest act says whether the user is forgotten or looked
at again later: so acts cost nothing, and another setting holds from the next minute on.
"""
from __future__ import annotations

from typing import Any

from streams.core.state.rows import Progress, UserState
from streams.core.state.tables import Table
from streams.core.state.timers import EventTimers

USER = b"u"  # first byte of a timer's key: the moment in it is that of an act, not that of an expiry
_MINUTE_MS = 60_000
_STEP_MS = 60 * _MINUTE_MS


class UserExpiry:
    """Forgets users of a table whose newest act lies further back than `expire_ms`; timers lie in another table."""

    def __init__(self, users: Table[UserState], timers: Table[Any], progress: Progress, expire_ms: int) -> None:
        self._users, self._progress, self._expire_ms = users, progress, expire_ms
        self._acted = EventTimers(timers, USER, _STEP_MS)

    def state(self, user: bytes, ts: int) -> UserState:
        """The state of a user, to be changed in place and put; where there is none, one that an act at `ts` begins."""
        state = self._users.get(user)
        if state is None:
            state = UserState()
            self._acted.add(ts, user)
        return state

    def advance(self, before_ms: int) -> None:
        """Event time has moved on: once a minute, users are forgotten, and counted.

        Strictly, so that a user who comes back at the last moment is still known. States are only looked at: none becomes resident.
        """
        now_ms, forgotten = self._progress.watermark_ms, 0
        if now_ms // _MINUTE_MS > before_ms // _MINUTE_MS:
            oldest_ms = now_ms - self._expire_ms
            for user in self._acted.due(oldest_ms - 1):
                state = self._users.peek(user)
                if state is None:
                    continue
                if state.last_ms >= oldest_ms:
                    self._acted.add(state.last_ms, user)
                else:
                    self._users.delete(user)
                    forgotten += 1
        if forgotten:
            self._progress.count("expired_users", forgotten)
