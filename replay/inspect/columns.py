"""What each column of a sample looks like: told by its name first, then by its cells."""
from __future__ import annotations

import re
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from replay.columns import times
from replay.columns.cells import number, text_of, truth
from replay.inspect.sample import Sample, cells
from replay.log_rows import Columns
from streams.core.join.events import Action

# Names of columns, without case and signs, the likeliest first.
USER = "userid user uid username listener listenerid account accountid member memberid customerid visitorid reviewerid person".split()
ITEM = (
    "itemid item iid trackid trackuri spotifytrackuri songid movieid videoid recordingmbid recordingmsid msid mbid productid asin "
    "contentid bookid isbn businessid tconst track song movie video product title trackname songname mastermetadatatrackname"
).split()
TIME = (
    "ts timestamp time datetime date when at listenedat playedat uts unixtime createdat eventtime eventtimestamp ratedat timems "
    "visitedat endtime utctime utc"
).split()
ACTION = "action event eventtype actiontype behavior behaviour behaviortype interaction type".split()
RATING = "rating score stars overall vote".split()
PLAYED = "playedms msplayed played playtime playms playtimems listenms listenedms watchtime watchtimems secondsplayed playedseconds".split()
DURATION = "durationms duration length tracklength lengthms trackduration videoduration songlength durationseconds lengthseconds".split()
RATIO = "ratio playratio watchratio playedratio completion progress fraction".split()
ARTIST = "artist artistname mastermetadataalbumartistname".split()
TITLE = "track trackname title song songname mastermetadatatrackname name".split()
REQUEST = "requestid impressionid slateid".split()
CONTEXT = "device platform conncountry country os client".split()
FLAGS = {
    "skipped": Action.SKIP, "skip": Action.SKIP, "isskip": Action.SKIP, "liked": Action.COLLECT, "like": Action.COLLECT,
    "islike": Action.COLLECT, "loved": Action.COLLECT, "favorite": Action.COLLECT, "favourite": Action.COLLECT, "saved": Action.COLLECT,
    "disliked": Action.DISLIKE, "hated": Action.DISLIKE, "shared": Action.SHARE,
}  # fmt: skip
MEANINGS = {  # an action -> its values in logs, without case and signs
    Action.IMPRESSION: "impression view exposure show shown pageview",
    Action.PLAY: "play listen click watch stream pv",
    Action.SKIP: "skip",
    Action.COLLECT: "collect like love favorite favourite fav save bookmark purchase buy addtocart cart transaction order",
    Action.SHARE: "share repost",
    Action.DISLIKE: "dislike hate ban",
    Action.UNCOLLECT: "uncollect unlike unlove",
}
MEANING = {value: action.value for action, values in MEANINGS.items() for value in values.split()}
SCALES = ((5, 4, 2), (10, 8, 3), (100, 80, 30))  # highest rating: collected from, disliked up to
LARGE_MS = 10_000  # a typical duration from here on is in ms
FULL = 0.5  # of an item's cells that must hold something
WORDS = {  # in names that are none of those
    "user_id": frozenset("user listener visitor customer member account reviewer".split()),
    "item_id": frozenset("item track song movie video book product title content recording".split()),
}
ROW_IDS = 0.9  # of the cells different: such a column numbers rows, and is no id
_SIGNS = re.compile(r"[^a-z0-9]")
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


class Role(NamedTuple):
    """A column that stands for a field."""

    field: str
    source: str  # column, path or expression
    looks: str  # for people


class Roles(NamedTuple):
    """What was found: the fields, and what the options are that belong to them."""

    columns: Columns
    roles: list[Role]
    notes: list[str]  # what was assumed, and what can't be told
    rating: bool = False
    missing: str = ""  # why it is no log of events


def roles(sample: Sample, latest_ms: int) -> Roles:
    """Which column is which field of an event."""
    return _Search(sample, latest_ms).found()


class _Search:
    """Columns by their names and cells; a column stands for one field."""

    def __init__(self, sample: Sample, latest_ms: int) -> None:
        self.sample, self.latest_ms = sample, latest_ms
        self.by_name = self._by_name(sample.names)
        self.taken: set[str] = set()
        self.roles: list[Role] = []
        self.notes: list[str] = []
        self.columns = sample.columns

    def found(self) -> Roles:
        if not self.sample.header:
            self._name_columns()
        missing = self._time()
        if missing:
            return Roles(self.columns, self.roles, self.notes, missing=missing)
        constants, labels, actions = dict[str, str](), dict[str, str](), dict[str, str]()
        if not self._take("user_id", USER, "who"):
            constants["user_id"] = "me"
            self.notes.append("No column says who: all rows are of one listener, `me`.")
        if not self._item():
            return Roles(self.columns, self.roles, self.notes, missing="no column says which item was played or rated")
        rating = self._rating(labels)
        actions = self._action(constants)
        self._lengths()
        for name, action in FLAGS.items():
            if column := self._named([name]):
                if all(truth(cell) is not None for cell in self._cells(column)):
                    self._add(f"also.{action}", column, f"true where it is a {action}")
        if "reasonend" in self.by_name and "trackdone" in self._cells(self.by_name["reasonend"]):
            self._add("full", f"{self.by_name['reasonend']} = 'trackdone'", "a full play, where the track ran to its end")
        self._take("request_id", REQUEST, "of which list")
        for name in CONTEXT:
            if column := self._named([name]):
                self._add(f"context.{'device' if name == 'platform' else name}", column, "context")
        fields = {role.field: role.source for role in self.roles if role.field not in (role.source, "rating")}
        columns = self._with(fields=fields, constants=constants, labels=labels, actions=actions)
        return Roles(columns, self.roles, self.notes, rating)

    def _with(self, **more: object) -> Columns:
        from msgspec.structs import replace

        return replace(self.columns, **more)

    def _by_name(self, names: Sequence[str]) -> dict[str, str]:
        """The columns by their plain names; a path by its last two as well (`track.uri`)."""
        pairs = {_SIGNS.sub("", "".join(name.split(".")[-2:]).lower()): name for name in reversed(names) if "." in name}
        return pairs | {self._plain(name): name for name in reversed(names)}

    @staticmethod
    def _plain(name: str) -> str:
        """Without case, signs, the path before it and a type behind it (`user_id:token`)."""
        return _SIGNS.sub("", name.rpartition(".")[2].partition(":")[0].lower())

    def _cells(self, column: str) -> list[object]:
        return cells(self.sample.rows, column)

    def _named(self, names: Sequence[str]) -> str | None:
        """The column of the likeliest of these names that is still free and holds something."""
        columns = (self.by_name[name] for name in names if name in self.by_name)
        return next((column for column in columns if column not in self.taken and self._cells(column)), None)

    def _add(self, field: str, source: str, looks: str) -> None:
        self.taken.add(source)
        self.roles.append(Role(field, source, looks))

    def _take(self, field: str, names: Sequence[str], looks: str) -> bool:
        column = self._named(names)
        if column is None and field in WORDS:
            free = [name for name in self.sample.names if name not in self.taken and self._cells(name)]
            column = next((name for name in free if WORDS[field] & {word.lower() for word in _WORD.findall(name)}), None)
        if column is not None:
            self._add(field, column, looks)
        return column is not None

    def _name_columns(self) -> None:
        """Names for the columns of a file without a header, by what stands in them: time, rating, then who, then what."""
        names = dict.fromkeys(self.sample.names, "")
        for column in names:
            if times.forms(self._cells(column)[:200], self.latest_ms) and "ts" not in names.values():
                names[column] = "ts"
        free = [column for column in names if not names[column]]
        if len(free) == 3 and len(names) == 4 and not any(_whole(cell) for column in free for cell in self._cells(column)[:20]):
            names.update(zip(free, ("artist", "album", "track"), strict=True))  # a listener's own export from Last.fm
        else:
            self._name_meanings(names, free)
            ids = [column for column in free if not names[column] and self._repeats(column)]
            names.update(zip(ids, ("user_id", "item_id"), strict=False))
        named = tuple(name or column for column, name in names.items())
        rows = [dict(zip(named, (row.get(column) for column in names), strict=True)) for row in self.sample.rows]
        self.sample = self.sample._replace(names=list(named), rows=rows)
        self.columns = self._with(names=named)
        self.by_name = self._by_name(named)
        self.notes.append(f"There is no header: the columns were named by what stands in them ({', '.join(named)}).")

    def _name_meanings(self, names: dict[str, str], free: Sequence[str]) -> None:
        """Name a column of actions, or else one of ratings, behind those of who and what."""
        for column in free:
            values = {_SIGNS.sub("", text_of(cell).lower()) for cell in self._cells(column)}
            if len(values) <= 20 and values & MEANING.keys() and all(value.isalpha() for value in values):
                names[column] = "action"
                return
        for column in reversed(free[2:]):
            if _is_rating(self._cells(column)) and max(float(text_of(cell)) for cell in self._cells(column)) in (5, 10):
                names[column] = "rating"
                return

    def _repeats(self, column: str) -> bool:
        found = self._cells(column)
        different = len({text_of(cell) for cell in found})
        return different > 1 and (len(found) < 20 or different <= ROW_IDS * len(found))

    def _time(self) -> str:
        """Take the column of times; why there is none."""
        likely = [self.by_name[name] for name in TIME if name in self.by_name and self._cells(self.by_name[name])]
        others = [name for name in self.sample.names if name not in likely]
        found = [(column, times.forms(self._cells(column)[:1_000], self.latest_ms)) for column in likely]
        found += (
            [(column, times.forms(self._cells(column)[:200], self.latest_ms)) for column in others] if not any(f for _, f in found) else []
        )
        usable = [(column, forms) for column, forms in found if forms]
        if not usable:
            why = (
                times.demand(likely[0], self._cells(likely[0]), [])
                if likely
                else "no column holds times, and without them nothing can be replayed"
            )
            return why
        column, forms = min(usable, key=lambda each: not each[1][0].zoned)
        form = forms[0]
        self._add("ts", column, f"times: {'unit ' if form.time in times.UNITS else ''}{form.time}, " + ("UTC" if form.zoned else "no zone"))
        self.columns = self._with(time=form.time, zone="" if form.zoned else "UTC")
        if len(forms) > 1:
            self.notes.append(f"{column} can be read as {' or '.join(each.time for each in forms)}; the command takes the first: check it.")
        if not form.zoned:
            self.notes.append(f"The times in {column} name no zone; the command takes them as UTC. Change --zone if they are local times.")
        return ""

    def _item(self) -> bool:
        rows = len(self.sample.rows)
        title, artist = self._named(TITLE), self._named(ARTIST)
        for name in ITEM:
            column = self.by_name.get(name)
            if column is None or column in self.taken or len(self._cells(column)) < FULL * rows:
                continue
            if column == title and artist:
                break
            self._add("item_id", column, "what")
            return True
        if title and artist:
            self._add("item_id", f"{_quoted(artist)} || ' - ' || {_quoted(title)}", "what: artist and title")
            self.taken |= {title, artist}
            return True
        return self._take("item_id", ITEM, "what")

    def _rating(self, labels: dict[str, str]) -> bool:
        column = self._named(RATING)
        if column is None or not _is_rating(self._cells(column)):
            return False
        highest = max(float(text_of(cell)) for cell in self._cells(column))
        _, good, bad = next((scale for scale in SCALES if highest <= scale[0]), SCALES[-1])
        name, unrated = _quoted(column), any(number(cell, whole=False) == 0 for cell in self._cells(column))
        labels.update(collect=f"{name} >= {good}", dislike=f"{name} > 0 AND {name} <= {bad}" if unrated else f"{name} <= {bad}")
        if unrated:
            self.notes.append(f"A {column} of 0 is taken as none.")
        self.taken.add(column)
        self.roles.append(Role("rating", column, f"ratings up to {highest:g}: collected from {good} on, disliked up to {bad}"))
        return True

    def _action(self, constants: dict[str, str]) -> dict[str, str]:
        """The meaning of each value of the action column; where there is none, all rows are plays."""
        column = self._named(ACTION)
        values = list(dict.fromkeys(text_of(cell).strip() for cell in self._cells(column))) if column else []
        meanings = {value: MEANING.get(_SIGNS.sub("", value.lower()), "") for value in values[:50]}
        if column is None or not any(meanings.values()):
            constants["action"] = "play"
            return {}
        self._add("action", column, f"actions: {', '.join(values[:8])}")
        if unknown := [value for value, action in meanings.items() if not action]:
            self.notes.append(
                f"{column}: {', '.join(unknown)} have no meaning here; their rows are left out (--action {unknown[0]}=play, say)."
            )
        return {value: action for value, action in meanings.items() if value != action}

    def _lengths(self) -> None:
        played, duration, ratio = self._named(PLAYED), self._named(DURATION), self._named(RATIO)
        for field, column in (("played_ms", played), ("duration_ms", duration)):
            if column and (scale := self._scale(column)):
                self._add(field, column if scale == 1 else f"{_quoted(column)} * 1000", f"durations in {'ms' if scale == 1 else 's'}")
        if ratio and not played and all(isinstance(number(cell, whole=False), int | float) for cell in self._cells(ratio)):
            if duration and (scale := self._scale(duration)):
                factor = "" if scale == 1 else " * 1000"
                self._add("played_ms", f"{_quoted(ratio)} * {_quoted(duration)}{factor}", "the ratio of the duration")
            else:
                self._add("full", f"{_quoted(ratio)} >= 0.9", "a full play, by the ratio")

    def _scale(self, column: str) -> int:
        """ms in a unit of a column of durations; 0 where it holds none."""
        values = [number(cell, whole=False) for cell in self._cells(column)]
        numbers = [value for value in values if isinstance(value, int | float) and value >= 0]
        if not numbers or len(numbers) < 0.9 * len(values):
            return 0
        in_ms = self._plain(column).endswith("ms") or self._plain(column).startswith("ms") or median(numbers) >= LARGE_MS
        return 1 if in_ms else 1000


def _is_rating(found: Sequence[object]) -> bool:
    """Numbers of few values on a scale that people rate on."""
    values = {number(cell, whole=False) for cell in found}
    numbers = [value for value in values if isinstance(value, int | float)]
    return len(numbers) == len(values) and 2 <= len(values) <= 101 and 0 <= min(numbers) and 2 <= max(numbers) <= 100


def _whole(cell: object) -> bool:
    return isinstance(number(cell, whole=False), int | float)


def _quoted(column: str) -> str:
    """A column as an SQL expression names it."""
    return column if re.fullmatch(r"[A-Za-z_]\w*", column) else '"' + column.replace('"', '""') + '"'
