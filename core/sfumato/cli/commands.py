"""Which commands there are, and how a command line becomes a call of one.

Commands about an operator (``reconstruct image inpaint …``) are parsed for that operator: its
dataclass fields join the command's own options, with their documentation as help. So the command
line is read from the left: command, plugin, operator, then everything else. A configuration file
gives values for the same names; the command line wins.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from itertools import takewhile
from typing import Any, get_args, get_origin

from cyclopts import App, CycloptsError, Parameter
from cyclopts.config import Dict

from sfumato.cli.answers import Answer
from sfumato.cli.failures import UsageError
from sfumato.cli.operators import specialise
from sfumato.config import read_toml
from sfumato.errors import InvalidOptionError, SfumatoError, UnknownNameError
from sfumato.registry import load_plugin

__all__ = ["COMMANDS", "run"]

COMMANDS = {
    "plugins": "List the installed plugins, or the parts of one.",
    "demo": "Restore bundled data and write a report, in a few minutes.",
    "reconstruct": "Restore damaged data, with uncertainty.",
    "finetune": "Train a prior further on other data.",
    "sample": "Draw from a prior.",
    "degrade": "Simulate a measurement of clean data.",
    "evaluate": "Compare a reconstruction with the truth.",
    "explain": "Say which solvers apply to an operator, or which samplers to a prior.",
}
"""Name → help. Each is the function of that name in the module of that name."""

FRACTION = re.compile(r"[+-]?\d*\.\d*[1-9]\d*")

OPERATOR_COMMANDS = {"reconstruct", "degrade", "explain"}

USAGE = {
    "reconstruct": "INPUT... [--out DIR]",
    "degrade": "INPUT --out FILE",
    "explain": "[INPUT]",
}


def run(typed: Sequence[str]) -> Answer | None:
    """Runs a command line; ``None`` if it asked for help or the version.

    Raises:
        SfumatoError: If something in it is wrong.
    """
    tokens, values, source = with_config(list(typed))
    special = operator_app(tokens)
    app, tokens = special or (root(), tokens)
    if values:
        check_keys(app, tokens, values, source)
        app.config = (Dict(values, source=source, use_commands_as_keys=False),)
    check_whole(app, tokens, values)
    try:
        answer = app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        cause = own_error(error)
        if cause is not None:
            raise cause from error
        command = typed[0] if typed and typed[0] in COMMANDS else ""
        late = special is None and command in OPERATOR_COMMANDS
        hint = f"Name PLUGIN and OPERATOR right after '{command}'. " if late else ""
        raise UsageError(error, f"sfumato {command}".rstrip(), hint) from error
    return answer if isinstance(answer, Answer) else None


def root() -> App:
    """The program, with commands that are imported when they run."""
    app = App(
        name="sfumato",
        help="Posterior sampling with diffusion priors: restore damaged data, with uncertainty.",
        version=installed_version,
        suppress_keyboard_interrupt=False,
        default_parameter=Parameter(negative_iterable=(), negative_none=()),
    )
    for name, text in COMMANDS.items():
        app.command(f"sfumato.cli.{name}:{name}", name=name, help=text)
    return app


def operator_app(tokens: Sequence[str]) -> tuple[App, list[str]] | None:
    """The command for one plugin's operator with the rest of the tokens, if both are named.

    Raises:
        UnknownNameError: If there is no such plugin or operator.
    """
    named = list(takewhile(lambda token: not token.startswith("-"), tokens[1:3]))
    if not named or tokens[0] not in OPERATOR_COMMANDS:
        return None
    plugin = load_plugin(named[0])
    if len(named) < 2:
        return None
    command, operator = tokens[0], named[1]
    function: Callable[..., Any] = getattr(
        importlib.import_module(f"sfumato.cli.{command}"), command
    )
    kind = plugin.part("operators", operator)
    title = f"sfumato {command} {plugin.name} {operator}"
    app = App(
        name=title,
        help=getattr(kind, "summary", "") or COMMANDS[command],
        usage=f"Usage: {title} {USAGE[command]} [OPTIONS]",
        version_flags=(),
        suppress_keyboard_interrupt=False,
        default_parameter=Parameter(negative_iterable=(), negative_none=()),
    )
    app.default(specialise(function, plugin.name, operator, kind))
    return app, list(tokens[1:])


def with_config(tokens: list[str]) -> tuple[list[str], dict[str, Any], str]:
    """Takes ``--config FILE`` out of the tokens; returns them with the file's values and name.

    Plugin and operator may stand in the file too.

    Raises:
        UnreadableFileError: If the file is missing or not TOML.
        InvalidOptionError: If no file is named.
    """
    place = next((i for i, t in enumerate(tokens) if t.partition("=")[0] == "--config"), None)
    if place is None or tokens[0] not in COMMANDS:
        return tokens, {}, ""
    _, given, path = tokens[place].partition("=")
    end = place + 1
    if not given:
        if end >= len(tokens):
            raise InvalidOptionError("--config", "no file is named", "name a TOML file")
        path, end = tokens[end], end + 1
    rest = tokens[:place] + tokens[end:]
    values = read_toml(path)
    for position, key in enumerate(("plugin", "operator"), start=1):
        value = values.pop(key, None)
        named = len(rest) > position and not rest[position].startswith("-")
        if isinstance(value, str) and not named:
            rest.insert(position, value)
    return rest, values, path


def check_keys(app: App, tokens: Sequence[str], values: dict[str, Any], source: str) -> None:
    """Refuses keys that no option has, naming the nearest."""
    command = app if tokens and tokens[0] not in COMMANDS else app[tokens[0]]
    options = command.assemble_argument_collection()
    names = {name.removeprefix("--") for argument in options for name in argument.names}
    known = {name.replace("-", "_") for name in names if not name.startswith("-")}
    tables = {
        option.name.removeprefix("--").replace("-", "_")
        for option in options
        if dict in {get_origin(hint) for hint in (option.hint, *get_args(option.hint))}
    }
    for key in flattened(values):
        free = any(key.startswith(f"{table}.") for table in tables)
        if key.replace("-", "_") not in known and not (free and key.count(".") == 1):
            raise UnknownNameError(f"key in {source}:", key, known)


def check_whole(app: App, tokens: Sequence[str], values: dict[str, Any]) -> None:
    """Refuses fractions where an option takes whole numbers; the parser would round them."""
    if app.default_command is None and not (tokens and tokens[0] in COMMANDS):
        return
    command = app[tokens[0]] if app.default_command is None else app
    whole = {
        name
        for argument in command.assemble_argument_collection()
        for name in argument.names
        if takes_whole(argument.hint)
    }
    typed = [(key, str(value)) for key, value in flattened(values).items()]
    for token, following in zip(tokens, [*tokens[1:], ""], strict=True):
        name, equals, value = token.partition("=")
        typed.append((name, value if equals else following))
    for name, value in typed:
        option = name if name.startswith("-") else f"--{name.replace('_', '-')}"
        if option in whole and FRACTION.fullmatch(value):
            raise InvalidOptionError(option, value, "use a whole number")


def takes_whole(hint: Any) -> bool:
    """Whether an option takes integers, or some of them, but no other numbers."""
    kinds = [hint, *get_args(hint)]
    return float not in kinds and any(k is int or type(k) is int for k in kinds)


def flattened(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values by their keys, those of tables as "table.key"."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        inner = isinstance(value, dict)
        found |= flattened(value, f"{prefix}{key}.") if inner else {f"{prefix}{key}": value}
    return found


def own_error(error: BaseException) -> SfumatoError | None:
    """The error of ours that the parser has wrapped, if it has."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, SfumatoError):
            return inner
        inner = inner.__cause__ or inner.__context__
    return None


def installed_version() -> str:
    """Version of the installed distribution."""
    try:
        return version("sfumato")
    except PackageNotFoundError:
        return "unknown (not installed)"
