"""Settings as frozen dataclasses and TOML files.

A configuration is a frozen dataclass whose fields may be dataclasses again. Its TOML file has the
same keys, a table for each nested dataclass:

    steps = 2000            Finetune(steps=2000, lora=Lora(rank=8))
    [lora]
    rank = 8

Keys that no field has are errors, and so are values of another type: a typing mistake must not
turn into a default. ``None`` is written by leaving the key out.
"""

from __future__ import annotations

import json
import math
import tomllib
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from sfumato.errors import InvalidOptionError, UnknownNameError, UnreadableFileError
from sfumato.records import run_record

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = [
    "from_mapping",
    "from_toml",
    "read_toml",
    "run_record",
    "to_mapping",
    "to_toml",
    "write_toml",
]

C = TypeVar("C", bound="DataclassInstance")


def read_toml(path: str | Path) -> dict[str, Any]:
    """Reads a TOML file.

    Raises:
        UnreadableFileError: If it is missing or not TOML; the message has line and column.
    """
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UnreadableFileError(path, "there is no such file") from error
    except OSError as error:
        raise UnreadableFileError(path, error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise UnreadableFileError(path, "it is not UTF-8 text", "expected TOML") from error
    except tomllib.TOMLDecodeError as error:
        raise UnreadableFileError(path, f"it is not TOML ({error})") from error


def from_toml(kind: type[C], path: str | Path) -> C:
    """Reads a configuration of type ``kind``.

    Raises:
        UnreadableFileError: If the file is missing or not TOML.
        UnknownNameError: If a key is no field; suggests the nearest.
        InvalidOptionError: If a value has another type, or a required key is missing.
    """
    return from_mapping(kind, read_toml(path), where=str(path))


def from_mapping(kind: type[C], values: Mapping[str, Any], *, where: str = "configuration") -> C:
    """Builds a configuration of type ``kind`` from nested mappings.

    Args:
        kind: A dataclass.
        values: Field name → value; a mapping for a nested dataclass.
        where: What error messages call the source.

    Raises:
        UnknownNameError: If a key is no field; suggests the nearest.
        InvalidOptionError: If a value has another type, or a required key is missing.
    """
    known = {entry.name: entry for entry in fields(kind) if entry.init}
    for name in values:
        if name not in known:
            raise UnknownNameError(f"key in {where}:", name, known)
    hints = get_type_hints(kind)
    for name, entry in known.items():
        required = entry.default is MISSING and entry.default_factory is MISSING
        if required and name not in values:
            raise InvalidOptionError(where, f"'{name}' is missing", "give it a value")
    return kind(
        **{name: coerce(hints[name], value, f"{where}: {name}") for name, value in values.items()}
    )


def to_mapping(config: DataclassInstance) -> dict[str, Any]:
    """The inverse of ``from_mapping``: plain values, nested, without those that are ``None``."""
    return {
        entry.name: plain(value)
        for entry in fields(config)
        if entry.init and (value := getattr(config, entry.name)) is not None
    }


def to_toml(config: DataclassInstance) -> str:
    """The configuration as the text of a TOML file."""
    return "\n".join(toml_lines(to_mapping(config))) + "\n"


def write_toml(config: DataclassInstance, path: str | Path) -> Path:
    """Writes the configuration as a TOML file that ``from_toml`` reads; returns its path."""
    target = Path(path)
    target.write_text(to_toml(config), encoding="utf-8")
    return target


def coerce(hint: Any, value: Any, where: str) -> Any:
    """``value`` as the annotated type, without guessing."""
    origin, options = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin is Annotated:
        return coerce(options[0], value, where)
    if origin in {Union, types.UnionType}:
        return first_that_fits(options, value, where, hint)
    if origin is Literal:
        if value not in options:
            raise wrong(where, value, " or ".join(repr(option) for option in options))
        return value
    if isinstance(hint, type) and is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise wrong(where, value, "a table")
        return from_mapping(hint, value, where=where)
    if origin in {tuple, list, Sequence}:
        return coerce_sequence(hint, value, where)
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise wrong(where, value, "a table")
        return {str(k): coerce(options[1], item, f"{where}.{k}") for k, item in value.items()}
    return coerce_scalar(hint, value, where)


def coerce_scalar(hint: Any, value: Any, where: str) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if hint is float and number:
        return float(value)
    if hint is Path and isinstance(value, str | Path):
        return Path(value)
    if hint is type(None) and value is None:
        return None
    if isinstance(hint, type) and isinstance(value, hint) and (hint is not int or number):
        return value
    raise wrong(where, value, NAMES.get(hint, getattr(hint, "__name__", str(hint))))


def coerce_sequence(hint: Any, value: Any, where: str) -> Any:
    options = get_args(hint)
    if not isinstance(value, list | tuple):
        raise wrong(where, value, "a list")
    if get_origin(hint) is tuple and options[-1] is not Ellipsis:
        if len(options) != len(value):
            raise wrong(where, value, f"a list of {len(options)}")
        kinds: Sequence[Any] = options
    else:
        kinds = [options[0]] * len(value)
    items = [
        coerce(k, item, f"{where}[{i}]")
        for i, (k, item) in enumerate(zip(kinds, value, strict=True))
    ]
    return items if get_origin(hint) is list else tuple(items)


def first_that_fits(options: Sequence[Any], value: Any, where: str, hint: Any) -> Any:
    if isinstance(value, Mapping):  # errors inside a table are about the table's own keys
        tables = [kind for kind in options if isinstance(kind, type) and is_dataclass(kind)]
        if len(tables) == 1:
            return coerce(tables[0], value, where)
    for kind in options:
        try:
            return coerce(kind, value, where)
        except (InvalidOptionError, UnknownNameError):
            continue
    raise wrong(where, value, describe(hint))


NAMES = {
    bool: "true or false", int: "a whole number", float: "a number", str: "a text",
    Path: "a path", type(None): "nothing",
}  # fmt: skip


def describe(hint: Any) -> str:
    """An annotation in words."""
    if get_origin(hint) in {Union, types.UnionType}:
        return " or ".join(describe(k) for k in get_args(hint) if k is not type(None))
    if get_origin(hint) is Literal:
        return " or ".join(repr(option) for option in get_args(hint))
    if get_origin(hint) in {tuple, list, Sequence}:
        return "a list"
    return NAMES.get(hint, getattr(hint, "__name__", str(hint)))


def wrong(where: str, value: Any, expected: str) -> InvalidOptionError:
    return InvalidOptionError(where, f"{value!r} does not fit", f"expected {expected}")


def plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return to_mapping(value)
    if isinstance(value, Mapping):
        return {str(k): plain(item) for k, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def toml_lines(table: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    nested = {key: value for key, value in table.items() if isinstance(value, Mapping)}
    for key, value in table.items():
        if key not in nested:
            yield f"{toml_key(key)} = {toml_value(value)}"
    for key, value in nested.items():
        path = f"{prefix}.{toml_key(key)}" if prefix else toml_key(key)
        yield ""
        yield f"[{path}]"
        yield from toml_lines(value, path)


def toml_key(key: str) -> str:
    bare = key.isascii() and key.replace("_", "a").replace("-", "a").isalnum()
    return key if bare else toml_value(key)


def toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    if isinstance(value, list | tuple):
        return f"[{', '.join(toml_value(item) for item in value)}]"
    if isinstance(value, str):  # a JSON string is a TOML string, but for U+007F
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value)
