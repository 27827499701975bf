"""Verbs that ask a running service: for a slate, for a page."""
from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from itertools import islice
from math import isfinite
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import click
import msgspec

from streams.cli.console import show
from streams.cli.frame import CallError, NoError, Verb, as_json, verb, with_settings

if TYPE_CHECKING:
    from streams.core.serving.explain import ExplainedItem
    from streams.core.serving.pages import Page
    from streams.core.serving.recommend import Slate, SlateRequest
    from streams.core.serving.scoring import SlateItem
    from streams.http.client import Place
    from streams.settings import Loaded

R = TypeVar("R")
TOGETHER = 100  # users of one request of --users: a second or two of the service
ITEM_COLUMNS = 40  # of an item's id


def finite(label: str, text: str) -> float:
    """The number in a text; JSON has no infinite ones. Raises CallError, which begins with the label.

    >>> finite("--weight skip=-2", "-2")
    -2.0
    """
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not isfinite(value):
        raise CallError(f"{label}: expected a number, as in --weight skip=-2")
    return value


def _number(context: click.Context, parameter: click.Parameter, text: str | None) -> float | None:
    return None if text is None else finite(f"{parameter.opts[0]} {text}", text)


def _weights(context: click.Context, parameter: click.Parameter, assignments: tuple[str, ...]) -> dict[str, float] | None:
    split = [(text, *text.partition("=")) for text in assignments]
    return {task: finite(f"--weight {text}", number) for text, task, _, number in split} or None


def _json(context: click.Context, parameter: click.Parameter, text: str | None) -> Any:
    try:
        return None if text is None else msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise CallError(f"{parameter.opts[0]} {text[:40] if text else ''}: expected JSON ({error})") from None


def _places(context: click.Context, parameter: click.Parameter, assignments: tuple[str, ...]) -> dict[str, int]:
    places = {item: place for item, _, place in (text.rpartition("=") for text in assignments)}
    for item, place in places.items():
        if not item or not place.isdecimal():
            raise CallError(f"--pin {item}={place}: expected ITEM=PLACE, the first place being 0")
    return {item: int(place) for item, place in places.items()}


def _shares(context: click.Context, parameter: click.Parameter, assignments: tuple[str, ...]) -> dict[str, float]:
    out = dict[str, float]()
    for text in assignments:
        name, _, share = text.partition("=")
        try:
            out[name] = float(share)
        except ValueError:
            raise CallError(f"--source {text}: expected NAME=SHARE, as in co-listened=0.5") from None
    return out


def request_options(function: Verb) -> Verb:
    """Options of a request, named as its fields are, and where the service is; the verb gets `fields` and `place`."""

    @functools.wraps(function)
    def call(loaded: Loaded, url: str | None, why: bool, wait: float, as_json: bool, **fields: Any) -> Any:
        from streams.http import client

        if why and fields["dry_run"]:
            raise CallError("--why --dry-run: nothing of a dry run is kept, so it can't be explained; leave one of them out")
        place = client.Place(url or client.at(loaded.settings.service), loaded.settings.service.token)
        return function(fields=fields, place=place, why=why, wait=wait, as_json=as_json)

    out = with_settings(as_json(call))
    for option in (
        click.option("--wait", default=0.0, type=click.FloatRange(min=0), metavar="SECONDS", help="for a service that starts just now"),
        click.option("--url", help="of the service  [default: as service.host and service.port say]"),
        click.option("--why", is_flag=True, help="tell what each score is made of, and what the model saw of the user"),
        click.option(
            "--rank-scale", metavar="NUMBER", callback=_number, help="divisor of the rank head, before its tanh  [default: settings]"
        ),
        click.option(
            "--gamma-user",
            metavar="NUMBER",
            callback=_number,
            help="share of the user's own level to take away, -1 to 1.5  [default: settings]",
        ),
        click.option(
            "--gamma-item",
            metavar="NUMBER",
            callback=_number,
            help="share of momentary popularity to take away, -1 to 1.5  [default: settings]",
        ),
        click.option(
            "--weight",
            "weights",
            multiple=True,
            metavar="TASK=W",
            callback=_weights,
            help="of a task in a score: skip=-2, rank=0 …  [default: settings]",
        ),
        click.option("--dry-run", is_flag=True, help="write nothing down: no exposure, no effect on later requests"),
        click.option("--exclude-artist", "exclude_artists", multiple=True, metavar="ARTIST", help="of whom nothing is to be shown"),
        click.option("--domain", help="only of it: song, video, longform, live …"),
        click.argument("user_id", metavar="[USER]", required=False),
    ):
        out = option(out)
    return out


def _request(fields: dict[str, Any], kind: type[R]) -> R:
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        raise CallError(str(error)) from None


@verb("segue broker -- sh -c 'segue worker & segue recommend ada --k 3 --wait 60; kill $!; wait'")
@click.option("--k", type=click.IntRange(min=1), default=10, show_default=True, help="items of the slate")
@click.option(
    "--candidate", "candidates", multiple=True, metavar="ITEM", callback=lambda context, parameter, items: items or None,
    help="rank these  [default: own, co-listened, popular, fresh and random ones]",
)  # fmt: skip
@click.option(
    "--unknown", type=click.Choice(["refuse", "allow"]), default="refuse", show_default=True,
    help="candidates that the catalog does not hold",
)  # fmt: skip
@click.option("--strategy", help="ranked, tail, explore, popular, a preset, or auto: one is drawn  [default: ranked]")
@click.option("--per-artist", type=click.IntRange(min=1), help="items of one artist at most  [default: any]")
@click.option("--spacing", type=click.IntRange(min=2), help="of so many places in a row at most one is an artist's  [default: any]")
@click.option("--pin", "pins", multiple=True, metavar="ITEM=PLACE", callback=_places, help="it stands there; the first place is 0")
@click.option("--source", "sources", multiple=True, metavar="NAME=SHARE", callback=_shares, help="candidates come from it, in this share")
@click.option("--seed-item", "seed_items", multiple=True, metavar="ITEM", help="a radio from it: what others played next is a candidate")
@click.option(
    "--filter", metavar="JSON", callback=_json,
    help="""conditions on items: '{"categories": {"any": ["jazz"]}, "features": {"bpm": {"max": 90}}}'""",
)  # fmt: skip
@click.option(
    "--users", type=click.File("r", encoding="utf-8"), help="a list for each user of a file, one a line (- is stdin), as for mail and push",
)  # fmt: skip
@click.option(
    "-o", "--out", type=click.File("w", encoding="utf-8"), help="of --users: a JSON line a user, its list or its problem  [default: stdout]"
)
@request_options
def recommend(fields: dict[str, Any], place: Place, why: bool, wait: float, as_json: bool) -> None:
    """Ask a running service for USER's slate; without USER for a guest's. Without --dry-run it is recorded as an exposure."""
    from streams.core.serving.recommend import SlateRequest
    from streams.http import client

    users, out = fields.pop("users"), fields.pop("out")
    request = _request(fields, SlateRequest)
    if users is not None:
        if why or request.user_id is not None:
            raise CallError("--users FILE: it names the users, so leave out USER, and --why")
        _recommend_to_all(place, request, users, out, wait)
        return
    if out is not None:
        raise CallError("-o FILE: it is for the lists of --users")
    slate = client.recommend(place, request, wait)
    reasons = client.explain(place, slate.request_id) if why else None
    show(reasons or slate, _item_lines(slate.items, iter(reasons.items if reasons else ())), as_json)
    if not as_json:
        _say(f"{len(slate.items)} of {request.k}", slate)


def _recommend_to_all(place: Place, request: SlateRequest, users: Iterable[str], out: TextIO | None, wait: float) -> None:
    """A JSON line a user, written batch by batch. Ends with 1 where a user has no list."""
    from streams.http import client
    from streams.http.batch import BatchRequest

    names, lists, problems, first = (name for line in users if (name := line.strip())), 0, 0, ""
    while batch := tuple(islice(names, TOGETHER)):
        for one in client.recommend_batch(place, _request({"user_ids": batch, "request": request}, BatchRequest), wait).slates:
            click.echo(msgspec.json.encode(one).decode(), file=out)
            lists += one.problem is None
            if one.problem is not None:
                problems += 1
                first = first or f"{one.user_id}: {one.problem.error}; {one.problem.what_to_do}"
    click.echo(f"{lists:,} lists", err=True)
    if problems:
        raise NoError(f"{problems:,} users have no list, the first: {first}")


@verb("segue broker -- sh -c 'segue worker & segue page ada --modules 3 --wait 60; kill $!; wait'")
@click.option("--modules", type=click.IntRange(min=1), help="of the page  [default: settings]")
@click.option("--per-module", type=click.IntRange(min=1), help="items of each  [default: settings]")
@click.option("--tasters", type=click.IntRange(min=0), help="further modules, of one item each  [default: settings]")
@click.option("--strategy", help="blend-0.25, tail, explore, fixed …  [default: one is drawn by Thompson sampling]")
@request_options
def page(fields: dict[str, Any], place: Place, why: bool, wait: float, as_json: bool) -> None:
    """Ask a running service for USER's page of modules; without USER for a guest's. Without --dry-run it is recorded as an exposure.

    By module: the user's predicted preference for its category, the category's monetization, and the strategy's score of both.
    """
    from streams.core.serving.pages import PageRequest
    from streams.http import client

    served = client.page(place, _request(fields, PageRequest), wait)
    reasons = client.explain(place, served.request_id) if why else None
    show(reasons or served, _page_lines(served, iter(reasons.items if reasons else ())), as_json)
    if not as_json:
        items = sum(len(module.items) for module in served.modules)
        _say(f"{len(served.modules)} modules, {items} items", served)


@verb("segue broker -- sh -c 'segue worker & segue similar so-what --wait 60; kill $!; wait'")
@click.option("--k", type=click.IntRange(min=1), default=10, show_default=True, help="items wanted")
@click.option(
    "--by", type=click.Choice(["co-listening", "vectors", "both"]), default="co-listening", show_default=True,
    help="what listeners took close to it; or what the same ones take, known by artist, category and features before anybody took it",
)  # fmt: skip
@click.option(
    "--filter", metavar="JSON", callback=_json, help="""conditions on items: '{"artists": ["miles-davis"], "domains": ["song"]}'""",
)  # fmt: skip
@click.option("--exclude-artist", "exclude_artists", multiple=True, metavar="ARTIST", help="of whom nothing is to come")
@click.option("--domain", help="only of it: song, video, longform, live …")
@click.option("--url", help="of the service  [default: as service.host and service.port say]")
@click.option("--wait", default=0.0, type=click.FloatRange(min=0), metavar="SECONDS", help="for a service that starts just now")
@click.argument("items", metavar="ITEM...", nargs=-1, required=True)
@with_settings
@as_json
def similar(loaded: Loaded, url: str | None, wait: float, as_json: bool, **fields: Any) -> None:
    """Ask a running service for the items most similar to one or several, by what listeners took close to them, or by vectors."""
    from streams.core.lookup.similar import SimilarRequest
    from streams.core.serving.requests import FLAGS
    from streams.http import client

    place = client.Place(url or client.at(loaded.settings.service), loaded.settings.service.token)
    found = client.similar(place, _request(fields, SimilarRequest), wait)
    show(found, (f"{n:3}  {item.item_id:{ITEM_COLUMNS}}  {item.score:9.4f}" for n, item in enumerate(found.items, 1)), as_json)
    if not as_json:
        click.echo("\n".join([f"{len(found.items)} of {fields['k']}", *(f"{flag}: {FLAGS[flag]}" for flag in found.flags)]), err=True)


def _page_lines(page: Page, reasons: Iterator[ExplainedItem]) -> Iterator[str]:
    """Modules with their items, then the strategies with their propensities; * is the one that was drawn."""
    for n, module in enumerate(page.modules, 1):
        figures = (("preference", module.preference), ("monetization", module.monetization), ("score", module.score))
        named = "".join(f"  {name} {value:.4f}" for name, value in figures if value is not None)
        yield f"{n:3}  {module.name:{ITEM_COLUMNS}}{named}  chance {module.propensity:.3f}"
        yield from _item_lines(module.items, reasons, "     ")
    for name, propensity in sorted(page.strategy_propensities.items(), key=lambda row: -row[1]):
        yield f"{'*' if name == page.strategy else ' '} {name:{ITEM_COLUMNS}}  chance {propensity:.3f}"


def _item_lines(items: Iterable[SlateItem], reasons: Iterator[ExplainedItem], indent: str = "") -> Iterator[str]:
    """Items in order, each followed by its reason where there is one."""
    for item in items:
        yield f"{indent}{item.position + 1:3}  {item.item_id:{ITEM_COLUMNS - len(indent)}}  {item.score:9.4f}  {item.source}"
        if reason := next(reasons, None):
            yield from (f"{indent}       {line}" for line in _reason_lines(reason))


def _reason_lines(item: ExplainedItem) -> Iterator[str]:
    """What an item's score is made of, and what the model saw of the user beside it."""
    yield "  ".join(f"{t.part} {t.weight:g} x {t.value:.4f} = {t.adds:+.4f}" for t in item.terms if t.weight)
    for attention in item.attention:
        if attention.behaviours:
            seen = ", ".join(f"{b.item_id or 'an item that is gone'} ({b.action}) {b.weight:.3f}" for b in attention.behaviours)
            yield f"{attention.over}: {seen}; none of them {attention.abstained:.3f}"


def _say(size: str, served: Slate | Page) -> None:
    """On stderr: size, strategy and model version, then a line a flag with what it means."""
    from streams.core.serving.requests import FLAGS

    model = f"model version {served.model_version}" if served.model_version is not None else "no model yet"
    click.echo("\n".join([f"{size}; {served.strategy}, {model}", *(f"{flag}: {FLAGS[flag]}" for flag in served.flags)]), err=True)
