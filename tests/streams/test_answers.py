"""A user's state as a list is made of it: as it was, whole, whatever happens to the user meanwhile."""
from __future__ import annotations

import msgspec

from streams.answers import _copied
from streams.core.state import UserState


def test_every_field_of_a_user_is_copied_and_none_moves_with_the_original() -> None:
    state = UserState()
    for n, field in enumerate(msgspec.structs.fields(UserState)):  # a new field is filled here too, whatever it is
        kind = type(getattr(state, field.name))
        setattr(state, field.name, {n: b"then"} if kind is dict else b"then%d" % n)
    then = msgspec.msgpack.encode(state)
    copied = _copied(state)
    assert copied is not state and msgspec.msgpack.encode(copied) == then
    for field in msgspec.structs.fields(UserState):
        value = getattr(state, field.name)
        if isinstance(value, dict):
            value[99] = b"now"
        else:
            setattr(state, field.name, b"now")
    assert msgspec.msgpack.encode(copied) == then != msgspec.msgpack.encode(state)
