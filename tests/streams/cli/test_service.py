"""Verbs that ask a service: what they print, and what they say where nobody is there."""
from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner, Result

from streams.cli.main import segue
from streams.cli.service import _item_lines, _page_lines, _weights
from streams.core.serving.explain import Attention, Behaviour, ExplainedItem, ScoreTerm
from streams.core.serving.pages import Module, Page
from streams.core.serving.scoring import SlateItem


def call(*arguments: str) -> Result:
    return CliRunner().invoke(segue, arguments)


@pytest.mark.parametrize("verb", ["recommend", "page"])
def test_nobody_there_to_answer_is_one_line_with_the_way_out(verb: str) -> None:
    done = call(verb, "ada", "--url", "http://127.0.0.1:1")
    assert done.exit_code == 1
    assert "no service answers at http://127.0.0.1:1" in done.stderr and "segue worker" in done.stderr and "Traceback" not in done.stderr


def item(position: int, item_id: str) -> SlateItem:
    return SlateItem(item_id=item_id, position=position, score=0.5, source="popular", propensity=1.0, probabilities=None)


def reasons() -> Iterator[ExplainedItem]:
    """Of one item: a term that counts, one that doesn't; an attention over one behaviour, one over none."""
    terms = [ScoreTerm(part="collect", weight=2.0, value=0.25, adds=0.5), ScoreTerm(part="skip", weight=0.0, value=0.5, adds=0.0)]
    behaviour = Behaviour(item_id="b", action="collect", age_s=1.0, weight=0.75)
    attention = [
        Attention(over="positive", abstained=0.25, behaviours=[behaviour]),
        Attention(over="negative", abstained=1.0, behaviours=[]),
    ]
    yield ExplainedItem(
        item_id="a", module=None, position=0, score=0.5, source="popular", propensity=1.0, terms=terms, probabilities=None, user=None,
        popularity=None, rank=None, attention=attention,
    )  # fmt: skip


def test_an_item_is_a_line_and_its_reason_stands_below_it() -> None:
    lines = list(_item_lines([item(0, "a"), item(1, "b")], reasons()))
    assert [line.split() for line in (lines[0], lines[-1])] == [["1", "a", "0.5000", "popular"], ["2", "b", "0.5000", "popular"]]
    assert lines[1:-1] == ["       collect 2 x 0.2500 = +0.5000", "       positive: b (collect) 0.750; none of them 0.250"]


def test_a_page_is_its_modules_then_the_strategies_the_likeliest_first_and_the_drawn_one_marked() -> None:
    module = Module(name="popular", category=None, items=[item(0, "a")], preference=None, monetization=0.5, score=None, propensity=0.25)
    page = Page(
        request_id="r", modules=[module], strategy="tail", segment=0, strategy_propensities={"tail": 0.25, "fixed": 0.75}, propensity=0.25,
        flags=[], model_version=None, model_age_ms=0,
    )  # fmt: skip
    assert [line.split() for line in _page_lines(page, iter(()))] == [
        ["1", "popular", "monetization", "0.5000", "chance", "0.250"], ["1", "a", "0.5000", "popular"],
        ["fixed", "chance", "0.750"], ["*", "tail", "chance", "0.250"],
    ]  # fmt: skip


def test_weights_are_numbers_by_task_and_none_where_nothing_is_weighed_anew() -> None:
    context, option = click.Context(segue), click.Option(["--weight"])
    assert _weights(context, option, ("skip=-2", "rank=0")) == {"skip": -2.0, "rank": 0.0}
    assert _weights(context, option, ()) is None


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["ada", "--pin", "so-what"], "--pin =so-what: expected ITEM=PLACE"),
        (["ada", "--pin", "so-what=first"], "expected ITEM=PLACE"),
        (["ada", "--filter", "{"], "--filter {: expected JSON"),
        (["ada", "--filter", '{"genres": []}'], "genres"),
        (["ada", "--users", "-"], "it names the users"),
        (["ada", "-o", "-"], "for the lists of --users"),
    ],
)
def test_what_is_wanted_of_a_list_is_checked_before_anybody_is_asked(flags: list[str], said: str) -> None:
    done = CliRunner().invoke(segue, ["recommend", *flags])
    assert (done.exit_code, done.stdout) == (2, "") and said in done.stderr
