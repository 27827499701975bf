"""Verbs that ask a service: for a list, for a page."""
from __future__ import annotations

import functools
from collections.abc import Iterator
from math import isfinite
from typing import TYPE_CHECKING, Any, TypeVar

import click

from streams.cli.frame import CallError, Verb, as_json, verb, with_settings

if TYPE_CHECKING:
    from streams.core.serving.explain import ExplainedItem
    from streams.core.serving.pages import Page
    from streams.core.serving.recommend import Slate
    from streams.http.client import Place
    from streams.settings import Loaded

R = TypeVar("R")


def of_a_request(function: Verb) -> Verb:
    """Options of what is asked of a service, and the settings that say where it is; the verb gets `wanted`, fields of the request,
    and `place`.
    """

    @functools.wraps(function)
    def call(
        user: str | None, domain: str | None, weights: tuple[str, ...], gamma_item: str | None, gamma_user: str | None,
        rank_scale: str | None, url: str | None, loaded: Loaded, **rest: Any,
    ) -> Any:  # fmt: skip
        from streams.http import client

        numbers = {"gamma_item": gamma_item, "gamma_user": gamma_user, "rank_scale": rank_scale}
        wanted = {
            "user_id": user, "domain": domain, "weights": dict(map(_weight, weights)) or None,
            **{name: None if n is None else _finite(f"--{name.replace('_', '-')} {n}", n) for name, n in numbers.items()},
        }  # fmt: skip
        place = client.Place(url or client.at(loaded.settings.service), loaded.settings.service.token)
        return function(wanted=wanted, place=place, **rest)

    out = with_settings(call)
    for option in (
        click.option("--wait", default=0.0, type=click.FloatRange(min=0), metavar="SECONDS", help="for a service that starts just now"),
        click.option("--url", help="of the service  [default: as service.host and service.port say]"),
        click.option("--why", is_flag=True, help="tell what each score is made of, and what the model saw of the user"),
        click.option("--rank-scale", metavar="NUMBER", help="of the rank head: differences that count  [default: settings]"),
        click.option("--gamma-user", metavar="NUMBER", help="share of the user's own level to take away, -1 to 1.5  [default: settings]"),
        click.option("--gamma-item", metavar="NUMBER", help="share of momentary popularity to take away, -1 to 1.5  [default: settings]"),
        click.option("--weight", "weights", multiple=True, metavar="TASK=W", help="what it counts: skip=-2, rank=0 …  [default: settings]"),
        click.option("--domain", help="only of it: song, video, longform, live …"),
        click.argument("user", required=False),
    ):
        out = option(out)
    return out


def _request(wanted: dict[str, Any], kind: type[R]) -> R:
    import msgspec

    try:
        return msgspec.convert(wanted, kind)
    except msgspec.ValidationError as error:
        raise CallError(str(error)) from None


@verb("segue broker -- sh -c 'segue worker & segue recommend ada --k 3 --wait 60; kill $!; wait'")
@click.option("--k", type=click.IntRange(min=1), default=10, show_default=True, help="items of the list")
@click.option("--candidate", "candidates", multiple=True, metavar="ITEM", help="rank these  [default: popular, fresh and random ones]")
@click.option("--strategy", help="ranked, tail, explore, popular, a preset, or auto: one is drawn  [default: ranked]")
@of_a_request
@as_json
def recommend(
    wanted: dict[str, Any], place: Place, k: int, candidates: tuple[str, ...], strategy: str | None, why: bool, wait: float, as_json: bool
) -> None:
    """Ask a running service for USER's list; without USER for a guest's. It is a list like any other: written down as shown."""
    from streams.cli.console import emit
    from streams.core.serving.recommend import SlateRequest
    from streams.http import client

    request = _request(wanted | {"k": k, "candidates": candidates or None, "strategy": strategy}, SlateRequest)
    answer = client.recommend(place, request, wait)
    reasons = client.explain(place, answer.request_id) if why else None
    if as_json:
        emit(reasons or answer)
        return
    for item in answer.items:
        click.echo(f"{item.position + 1:3}  {item.item_id:40}  {item.score:9.4f}  {item.source}")
        for line in _reasons(reasons.items[item.position]) if reasons else ():
            click.echo(f"       {line}")
    click.echo(f"{len(answer.items)} of {k}; {_made_by(answer)}", err=True)


@verb("segue broker -- sh -c 'segue worker & segue page ada --modules 3 --wait 60; kill $!; wait'")
@click.option("--modules", type=click.IntRange(min=1), help="of the page  [default: settings]")
@click.option("--per-module", type=click.IntRange(min=1), help="items of each  [default: settings]")
@click.option("--tasters", type=click.IntRange(min=0), help="further modules, of one item each  [default: settings]")
@click.option("--strategy", help="blend-0.25, tail, explore, fixed …  [default: one is drawn, by what each has earned]")
@of_a_request
@as_json
def page(
    wanted: dict[str, Any], place: Place, modules: int | None, per_module: int | None, tasters: int | None, strategy: str | None,
    why: bool, wait: float, as_json: bool,
) -> None:  # fmt: skip
    """Ask a running service for USER's page of modules; without USER for a guest's. It is a page like any other: written down as shown.

    By module: what the model thinks the user makes of the category, what showing it is worth, what the strategy made of both.
    """
    from streams.cli.console import emit
    from streams.core.serving.pages import PageRequest
    from streams.http import client

    size = {"modules": modules, "per_module": per_module, "tasters": tasters}
    request = _request(wanted | size | {"strategy": strategy}, PageRequest)
    answer = client.page(place, request, wait)
    reasons = client.explain(place, answer.request_id) if why else None
    if as_json:
        emit(reasons or answer)
        return
    told = iter(reasons.items if reasons else ())
    for n, module in enumerate(answer.modules, 1):
        figures = (("preference", module.preference), ("monetization", module.monetization), ("score", module.score))
        named = "".join(f"  {name} {value:.4f}" for name, value in figures if value is not None)
        click.echo(f"{n:3}  {module.name:40}{named}  chance {module.propensity:.3f}")
        for item in module.items:
            click.echo(f"     {item.position + 1:3}  {item.item_id:35}  {item.score:9.4f}  {item.source}")
            for line in _reasons(next(told)) if reasons else ():
                click.echo(f"            {line}")
    for name, chance in sorted(answer.strategy_propensities.items(), key=lambda of: -of[1]):
        click.echo(f"{'*' if name == answer.strategy else ' '} {name:40}  chance {chance:.3f}")
    items = sum(len(module.items) for module in answer.modules)
    click.echo(f"{len(answer.modules)} modules, {items} items; {_made_by(answer)}", err=True)


def _made_by(answer: Slate | Page) -> str:
    model = f"model version {answer.model_version}" if answer.model_version is not None else "no model yet"
    return ", ".join([answer.strategy, model, *answer.flags])


def _weight(assignment: str) -> tuple[str, float]:
    part, _, weight = assignment.partition("=")
    return part, _finite(f"--weight {assignment}", weight)


def _finite(flag: str, number: str) -> float:
    """JSON has no other numbers."""
    try:
        value = float(number)
    except ValueError:
        value = float("nan")
    if not isfinite(value):
        raise CallError(f"{flag}: expected a number, as in --weight skip=-2")
    return value


def _reasons(item: ExplainedItem) -> Iterator[str]:
    """What an item's score is made of, and what the model saw of the user beside it."""
    yield "  ".join(f"{t.part} {t.weight:g} x {t.value:.4f} = {t.adds:+.4f}" for t in item.terms if t.weight)
    for over in item.attention:
        if over.behaviours:
            seen = ", ".join(f"{b.item_id or 'an item that is gone'} ({b.action}) {b.weight:.3f}" for b in over.behaviours)
            yield f"{over.over}: {seen}; none of them {over.abstained:.3f}"
