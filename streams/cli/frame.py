"""The command group `segue`, its errors, and the decorators and options that verbs share."""
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
    """The command ran, and the result is negative: exit 1."""

    exit_code = 1

    def show(self, file: Any = None) -> None:
        """Print the message on stderr."""
        click.echo(f"segue: {self.message}", err=True)


class CallError(NoError):
    """The command was called wrongly: exit 2."""

    exit_code = 2


class Verbs(click.Group):
    """Turns errors that are meant for the user into one line and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb; an error class of ours, or a file that can't be opened, becomes one line."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:  # noqa: BLE001 - sorted here; what isn't meant for the user is raised again
            from streams.watchdog import NeedsOperator

            origin = type(error).__module__.partition(".")[0]
            if origin in PACKAGES:  # our exception classes carry messages for the user
                raise (CallError if isinstance(error, ValueError | NeedsOperator) else NoError)(str(error)) from error
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
    """Make a function a command whose help ends in an example that can be pasted."""

    def decorate(function: Verb) -> click.Command:
        name = function.__name__.rstrip("_").replace("_", "-")
        return segue.command(name=name, epilog=f"\b\nTry:\n  {example}")(function)

    return decorate


def bundled(kind: type[Any], name: str = "options") -> Callable[[Verb], Verb]:
    """Gather the options named like the fields of `kind` into one value; the verb gets it as its parameter `name`."""

    def decorate(function: Verb) -> Verb:
        @functools.wraps(function)
        def call(**given: Any) -> Any:
            value = kind(**{field: given.pop(field) for field in kind.__annotations__})
            return function(**{name: value}, **given)

        return call

    return decorate


def renamed(old: str, new: str) -> Callable[[Verb], Verb]:
    """Refuse an option of an earlier version with its new name."""

    def refuse(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
        if value is not None:
            raise CallError(f"{old}: it was renamed to {new}")

    return click.option(old, hidden=True, expose_value=False, callback=refuse)


def with_settings(function: Verb) -> Verb:
    """Add `--config`, `--set` and `--broker` (short for one of them); the verb gets `loaded`."""

    @functools.wraps(function)
    def call(config: Path | None, assignments: tuple[str, ...], broker_at: str | None, **rest: Any) -> Any:
        from streams import settings

        flags = [(f"--set {assignment}", assignment) for assignment in assignments]
        if broker_at:
            flags.append((f"--broker {broker_at}", f"topics.bootstrap={broker_at}"))
        return function(loaded=settings.load(config, os.environ, flags), **rest)

    for option in (
        click.option("--broker", "broker_at", metavar="HOST:PORT", help="Kafka to connect to; short for --set topics.bootstrap=…"),
        click.option("--set", "assignments", metavar="KEY=VALUE", multiple=True, help="a setting; `segue config` lists them"),
        click.option(
            "--config", type=click.Path(path_type=Path, dir_okay=False), help="settings file  [default: segue.toml, if it exists]"
        ),
    ):
        call = option(call)
    return call


def at_a_broker(function: Verb) -> Verb:
    """`with_settings`, and a broker that can't be reached is one line instead of a traceback."""

    @with_settings
    @functools.wraps(function)
    def call(loaded: Loaded, **rest: Any) -> Any:
        from streams.kafka_io.topics import reaching

        with reaching(loaded.settings.topics.bootstrap):
            return function(loaded=loaded, **rest)

    return call


def pairs(context: click.Context | None, parameter: click.Parameter, assignments: Sequence[str]) -> dict[str, str]:
    """Callback of an option that is given several times as KEY=VALUE: the verb gets a dict.

    >>> pairs(None, click.Option(["--map"]), ["user_id=uid", "ts=time"])
    {'user_id': 'uid', 'ts': 'time'}
    """
    split = {text: text.partition("=") for text in assignments}
    for text, (key, equals, _) in split.items():
        if not equals or not key:
            raise CallError(f"{parameter.opts[0]} {text}: expected KEY=VALUE")
    return {key: value for key, _, value in split.values()}


as_json = click.option("--json", "as_json", is_flag=True, help="print JSON")


def moment(option: str, text: str | None) -> int | None:
    """Ms UTC of the time that an option names, with its zone."""
    if text is None:
        return None
    from datetime import datetime

    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise CallError(f"{option} {text}: {error}") from None
    if moment.tzinfo is None:
        raise CallError(f"{option} {text}: name its zone, as in 2022-04-28T00:00+08:00 or 2022-04-27T16:00Z")
    return int(moment.timestamp() * 1000)
