"""What the ranker learns from: features as at exposure, and the records of the `examples` topic.

Ids are 64-bit keys here (xxh3 of field name and value; 0 = absent): state, examples and deltas never
carry strings. Everything that has a length is bounded, and packed as little-endian bytes, so that a
batch becomes tensors by one `frombuffer` a column (see `batch.py`).
"""
from __future__ import annotations

import msgspec
import numpy as np

from online_model.history import ACTIONS

TASKS = ("full_play", "collect", "share", "skip", "dislike")
FIELDS = ("user", "item", "artist", "category", "hour_of_week", "domain", "module", "position")
BAGS = ("context", "user_attributes", "item_features")
SCOPES = ("user", "item", "user_domain", "user_category")
COUNTS = ("exposures", *TASKS)  # columns of a decayed counter
POPULARITY_HALF_LIVES_H = (1.0, 24.0, 168.0)
PLAY_TIMES_S = (0, 1, 4, 16, 64, 256, 1024)  # that plays are counted at, see play_times.py

DOMAIN = np.dtype([("domain", "<u8"), ("exposures", "<f4")])  # decayed to the exposure

BAG_LIMIT = 8  # keys a bag; further ones are left out in key order
HISTORY_LIMIT = 50  # behaviours a family that an example carries (MODEL.md section 2)
RELATED_LIMIT = 20  # behaviours with the candidate's artist or category
DOMAIN_LIMIT = 6  # domains of a user that an example carries, the most lately used
CODES = ACTIONS - 1  # codes of history.py without that of padding
NO_FEEDBACK = bytes(4 * CODES)
OWN_PLAYS = ("plays", "decayed", "recency", "age_s", "next")  # of what a user took before, see `Features.own_plays`
NO_PLAYS = bytes(4 * len(OWN_PLAYS))
EMBEDDING = 32  # numbers of an item's embedding, see item_embedding.py
NO_PLAY_TIMES = bytes(4 * len(PLAY_TIMES_S))


class Features(msgspec.Struct, frozen=True, array_like=True):
    """One candidate as it stood when it was shown."""

    fields: bytes  # uint64 [len(FIELDS)]
    context: bytes  # uint64 [<= BAG_LIMIT]
    user_attributes: bytes  # uint64 [<= BAG_LIMIT]
    item_features: bytes  # uint64 [<= BAG_LIMIT]
    positive: bytes  # history.BEHAVIOUR [<= HISTORY_LIMIT], oldest first
    negative: bytes  # history.BEHAVIOUR [<= HISTORY_LIMIT], oldest first
    related: bytes  # history.BEHAVIOUR [<= RELATED_LIMIT] of both families with the candidate's artist or category, oldest first
    domains: bytes  # DOMAIN [<= DOMAIN_LIMIT]: where the user has been, the least lately used first
    counts: bytes  # float32 [len(SCOPES), len(COUNTS)], decayed to the exposure
    popularity: bytes  # float32 [len(POPULARITY_HALF_LIVES_H)], decayed counts at the exposure
    age_s: float  # of the item at the exposure; negative = unknown
    shown_ms: int  # event time of the exposure
    followed: float = 0.0  # how often it is what others took right after the user's last item, as a share in [0, 1)
    artist_feedback: bytes = NO_FEEDBACK  # float32 [CODES]: the user's last behaviours with the candidate's artist, decayed, by code
    near: float = 0.0  # how often others took it close to the user's last items, from 0 on
    # float32 [OWN_PLAYS]: of the user's remembered behaviours, how many liked the item, and decayed; 1 / (1 + behaviours since the last of
    # them), seconds since then; how often the item was what the user took right after the last one, earlier on
    own_plays: bytes = NO_PLAYS
    play_times: bytes = NO_PLAY_TIMES  # float32 [len(PLAY_TIMES_S)]: the user's plays by how long they lasted, decayed
    embedding: bytes = b""  # float32 [EMBEDDING] of the item, or nothing


class Exposed(msgspec.Struct, frozen=True, array_like=True, tag="exposed"):
    """An exposure at its moment, before anything is known of it: what the ranker predicts, with the parameters of that moment."""

    id: int  # 64-bit key of the exposed slot
    ts: int  # event time of the exposure, ms
    features: Features


class Example(msgspec.Struct, frozen=True, array_like=True, tag="example"):
    """An exposure with the labels known at its first resolving act, or when its window closed without one."""

    id: int  # 64-bit key of the exposed slot
    ts: int  # event time of the record that made it, ms
    arrival_ms: int  # arrival of the act that made it (broker append); 0 = no act did
    labels: int  # bit t set = TASKS[t] positive
    sampling_rate: float  # share of such exposures that is kept (1 = all): importance weight 1 / sampling_rate; MODEL.md section 7
    features: Features
    predicted: bool = False  # an `Exposed` came before it; of the others exposure and act are one event, and its step predicts them


class Reversal(msgspec.Struct, frozen=True, array_like=True, tag="reversal"):
    """A label that changed after its example was made: +1 became positive, -1 was undone (MODEL.md section 7)."""

    id: int
    ts: int
    arrival_ms: int
    task: int  # index into TASKS
    sign: int  # +1 | -1
    sampling_rate: float
    features: Features


class Closed(msgspec.Struct, frozen=True, array_like=True, tag="closed"):
    """The join window of a slate has closed: labels as they stand now, by position."""

    ts: int
    ids: list[int]
    labels: list[int]  # bit masks, as in Example; a further bit for a partial play
    shown_before_ms: int  # whatever its partition showed before has closed, once all that closes at this moment has
    sampled_out: int = 0  # exposures of the slate that closed without an act, and of which no example was made
    unlearned: list[int] = []  # ids of what was predicted and is no example: of them, and of what nobody is known to have seen


class Reward(msgspec.Struct, frozen=True, array_like=True, tag="reward"):
    """What a slate or page earned, of which a strategy was chosen: its join window has closed (MODEL.md section 6)."""

    id: int  # of the request
    ts: int  # event time at which it closed, ms
    shown_ms: int
    user: int
    surface: str  # page | list
    strategy: str
    arms: list[str]  # that could have been chosen,
    chances: list[float]  # and the propensity of each
    segment: int
    activity: float  # what the segment follows from: acts of the user until then, decayed,
    domain: int  # and the domain that most of them are in
    experience: float  # 0 to 1
    revenue: float  # of what was looked at; not below 0
    seen: bool  # an act or an impression says that it was on a screen; of the others nothing is known
    vector: list[float] = []  # what the ranker knew of the user, where the choice looked at it


class Tick(msgspec.Struct, frozen=True, array_like=True, tag="tick"):
    """Time, as a record: closes an open micro-batch; `last` ends a log and closes everything."""

    ts: int
    last: bool


ExampleRecord = Exposed | Example | Reversal | Closed | Reward | Tick
