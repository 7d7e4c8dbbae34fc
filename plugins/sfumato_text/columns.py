"""Texts in the columns of Parquet and Arrow files, and in folders that ``datasets`` has saved.

``Dataset.save_to_disk`` writes a folder with Arrow streams and ``state.json``, which lists them;
``DatasetDict.save_to_disk`` a folder with one of these for every split. Of several splits the one
named ``train`` is read: the others are there to be held out. Columns are for learning from only;
they are read with pyarrow, which is optional.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sfumato.errors import MissingDependencyError, UnreadableFileError
from sfumato_text.files.records import FIELDS

__all__ = ["SUFFIXES", "read_column", "saved"]

SUFFIXES = (".parquet", ".arrow")
INSTALL = "'sfumato[parquet]'"


def saved(folder: Path) -> list[Path] | None:
    """The files of a saved dataset in their order; ``None`` if the folder is none.

    Raises:
        UnreadableFileError: If a description is damaged.
    """
    splits, state = folder / "dataset_dict.json", folder / "state.json"
    if splits.is_file():
        names = described(splits, lambda known: [str(name) for name in known["splits"]])
        chosen = ["train"] if "train" in names else names
        return [file for name in chosen for file in saved(folder / name) or []]
    if state.is_file():
        names = described(state, lambda known: [str(e["filename"]) for e in known["_data_files"]])
        return [folder / name for name in names]
    return None


def described(path: Path, names: Callable[[Any], list[str]]) -> list[str]:
    """What a description of a saved dataset lists."""
    try:
        return names(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError) as error:
        raise UnreadableFileError(path, "it does not describe a saved dataset") from error


def read_column(path: Path, field: str = "") -> str:
    """The texts of a column, joined by line ends; rows without one are left out.

    Args:
        path: A Parquet file, an Arrow stream or an Arrow file.
        field: Name of the column; the first of the usual names, or the only one that holds text, if
            not given.

    Raises:
        MissingDependencyError: If pyarrow is not installed.
        UnreadableFileError: If the file is damaged or has no such column.
    """
    try:
        import pyarrow
    except ImportError as error:
        what = f"reading '{path.name}'"
        raise MissingDependencyError(what, ["pyarrow"], INSTALL) from error
    try:
        table = read_table(path)
    except (pyarrow.ArrowInvalid, OSError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise UnreadableFileError(path, f"it is no {path.suffix[1:]} file ({reason})") from error
    texts = [
        column.name
        for column in table.schema
        if pyarrow.types.is_string(column.type) or pyarrow.types.is_large_string(column.type)
    ]
    name = field or next((name for name in FIELDS if name in texts), "")
    if not name and len(texts) == 1:
        name = texts[0]
    if name not in texts:
        why = f"column '{name}' holds no text" if name else "which column is the text is not clear"
        raise UnreadableFileError(
            path, why, f"choose a field; columns with text: {', '.join(texts) or 'none'}"
        )
    return "\n".join(text for text in table.column(name).to_pylist() if text)


def read_table(path: Path) -> Any:
    """All of a file."""
    import pyarrow
    from pyarrow import parquet

    if path.suffix.lower() == ".parquet":
        return parquet.read_table(path)
    with pyarrow.memory_map(str(path)) as source:
        try:
            return pyarrow.ipc.open_stream(source).read_all()
        except pyarrow.ArrowInvalid:
            source.seek(0)
            return pyarrow.ipc.open_file(source).read_all()
