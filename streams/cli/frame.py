"""What every verb of `segue` is made with: the group, its errors, and the options that verbs share."""
from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from streams.settings import Loaded

PACKAGES = ("streams", "online_model", "bandit", "replay")

Verb = Callable[..., Any]


class NoError(click.ClickException):
    """The answer is no."""

    exit_code = 1

    def show(self, file: Any = None) -> None:
        click.echo(f"segue: {self.message}", err=True)


class CallError(NoError):
    """The call was wrong."""

    exit_code = 2


class Verbs(click.Group):
    """Turns the errors that are meant for the user into one line and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:  # noqa: BLE001 - sorted out here; whatever isn't for the user goes on
            origin = type(error).__module__.partition(".")[0]
            if origin in PACKAGES:  # a class of ours exists to be told
                raise (CallError if isinstance(error, ValueError) else NoError)(str(error)) from error
            if isinstance(error, OSError) and error.filename is not None:
                raise CallError(f"{error.filename}: {error.strerror}") from error
            raise


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="segue", message="%(version)s")
def segue() -> None:
    """A streaming recommender that learns online from every play, skip and collect.

    \b
    Try it on a log:     segue replay LOG --format csv --map user_id=uid --map ts=time
    Serve from Kafka:    segue worker, segue learner

    The help of each verb ends in a line that can be pasted and works.
    """


def verb(example: str) -> Callable[[Verb], click.Command]:
    """A command whose help ends in a line that can be pasted."""

    def made(function: Verb) -> click.Command:
        name = function.__name__.rstrip("_").replace("_", "-")
        return segue.command(name=name, epilog=f"\b\nTry:\n  {example}")(function)

    return made


def with_settings(function: Verb) -> Verb:
    """`--config`, `--set` and `--broker` (short for one of them); the verb gets `loaded`."""

    @functools.wraps(function)
    def call(config: Path | None, assignments: tuple[str, ...], broker_at: str | None, **rest: Any) -> Any:
        from streams import settings

        flags = [(f"--set {assignment}", assignment) for assignment in assignments]
        if broker_at:
            flags.append((f"--broker {broker_at}", f"topics.bootstrap={broker_at}"))
        return function(loaded=settings.load(config, os.environ, flags), **rest)

    for option in (
        click.option("--broker", "broker_at", metavar="HOST:PORT", help="the Kafka to use; short for --set topics.bootstrap=…"),
        click.option("--set", "assignments", metavar="KEY=VALUE", multiple=True, help="a setting; `segue config` lists them"),
        click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="settings file  [default: segue.toml, if there]"),
    ):
        call = option(call)
    return call


def at_a_broker(function: Verb) -> Verb:
    """A broker that can't be reached is one line, not a stack."""

    @functools.wraps(function)
    def call(loaded: Loaded, **rest: Any) -> Any:
        from streams.kafka_io.topics import reaching

        with reaching(loaded.settings.topics.bootstrap):
            return function(loaded=loaded, **rest)

    return call


def pairs(name: str, given: Sequence[str]) -> dict[str, str]:
    """KEY=VALUE options as a dict."""
    out = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise CallError(f"{name} {text}: expected KEY=VALUE")
        out[key] = value
    return out


as_json = click.option("--json", "as_json", is_flag=True, help="print JSON")
