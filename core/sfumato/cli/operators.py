"""An operator's options on the command line: one option for each field of its dataclass."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import docstring_parser
from cyclopts import Group, Parameter

from sfumato.errors import PluginError

__all__ = ["operator_options", "specialise"]

PLAIN = (str, int, float, bool, Path, type(None))


def specialise(
    function: Callable[..., Any], plugin: str, operator: str, kind: type
) -> Callable[..., Any]:
    """``function`` with the operator's options as parameters.

    Those that are given reach the function as the dictionary ``task_options``.

    Raises:
        PluginError: If an option of the operator has the name of one of the command's.
    """
    signature = inspect.signature(function)
    hints = get_type_hints(function, include_extras=True)
    own = [p for name, p in signature.parameters.items() if name != "task_options"]
    extra = operator_options(kind, f"{plugin} {operator}")
    for clash in {option.name for option in extra} & reserved(own, hints):
        raise PluginError(
            f"plugin '{plugin}': option '{clash}' of operator '{operator}' has the name of an "
            "option of the command line; rename the field."
        )
    named = {option.name for option in extra}

    @functools.wraps(function)
    def command(*args: Any, **kwargs: Any) -> Any:
        options = {name: kwargs.pop(name) for name in named & kwargs.keys()}
        return function(*args, **kwargs, task_options=options)

    shown = [
        p.replace(annotation=Annotated[hints[p.name], Parameter(show=False)])
        if p.name in {"plugin", "operator"}
        else p.replace(annotation=hints[p.name])
        for p in own
    ]
    parameters = sorted([*shown, *extra], key=lambda p: p.kind)
    command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    del command.__wrapped__
    return command


def operator_options(kind: type, title: str = "") -> list[inspect.Parameter]:
    """The fields of an operator's dataclass as keyword parameters, with help.

    Fields that no text can give, such as tensors, are left to Python.
    """
    group = Group(f"Options of {title}" if title else "Operator", sort_key=0)
    hints, help_texts = get_type_hints(kind), documentation(kind)
    found = []
    for entry in fields(kind):
        hint = typed(hints[entry.name])
        if not entry.init or hint is None:
            continue
        default = entry.default
        if entry.default_factory is not MISSING:
            default = entry.default_factory()
        required = default is MISSING
        parameter = Parameter(help=help_texts.get(entry.name, ""), group=group)
        found.append(
            inspect.Parameter(
                entry.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if required else default,
                annotation=Annotated[hint, parameter],
            )
        )
    return found


def documentation(kind: type) -> dict[str, str]:
    """Field → text: from the ``Args`` of the class and of those it extends, or below the field."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__[:-1]):
        try:
            parsed = docstring_parser.parse_from_object(base)
        except (OSError, SyntaxError):  # a class without source, such as a compiled one
            parsed = docstring_parser.parse(base.__doc__ or "")
        for entry in parsed.params:
            found[entry.arg_name] = " ".join((entry.description or "").split())
    return found


def typed(hint: Any) -> Any:
    """The part of a type that can be given as text; ``None`` if there is none."""
    origin, options = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return typed(options[0])
    if origin in {Union, types.UnionType}:
        kept = [part for part in (typed(option) for option in options) if part is not None]
        if not [part for part in kept if part is not type(None)]:
            return None
        return Union[tuple(kept)]  # noqa: UP007 - built from parts
    if origin in {tuple, list}:
        return hint if all(typed(o) or o is Ellipsis for o in options) else None
    return hint if hint in PLAIN or origin is Literal else None


def reserved(parameters: list[inspect.Parameter], hints: dict[str, Any]) -> set[str]:
    """Names of the command's own options, those inside flattened dataclasses included."""
    names: set[str] = set()
    for parameter in parameters:
        names.add(parameter.name)
        kind = hints[parameter.name]
        kind = get_args(kind)[0] if get_origin(kind) is Annotated else kind
        if hasattr(kind, "__dataclass_fields__"):
            names |= set(kind.__dataclass_fields__)
    return names
