"""Dataclasses from JSON, strictly: what is not known is refused by name."""

from __future__ import annotations

import types
import typing
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar

from .errors import FsrError

T = TypeVar("T")


def from_json(kind: type[T], data: Any, where: str, error: type[FsrError]) -> T:
    """Build a dataclass from parsed JSON, fields of dataclasses, lists and dicts of them included.

    Raises:
        error: an unknown, missing or mistyped field, named after `where`.
    """
    hints = typing.get_type_hints(kind)
    assert is_dataclass(kind)
    if not isinstance(data, dict):
        raise error(f"{where}: got {type(data).__name__}, expected an object with the fields of {kind.__name__}")
    if unknown := data.keys() - hints.keys():
        raise error(f"{where}: unknown field {sorted(unknown)[0]!r}; known: {', '.join(hints)}")
    required = {f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING}
    if missing := required - data.keys():
        raise error(f"{where}: field {sorted(missing)[0]!r} is missing")
    return kind(**{key: _value(hints[key], value, f"{where}: {key}", error) for key, value in data.items()})


def _value(hint: Any, value: Any, where: str, error: type[FsrError]) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if is_dataclass(hint):
        return from_json(typing.cast("type[Any]", hint), value, where, error)
    if origin is list and isinstance(value, list):
        return [_value(arguments[0], item, f"{where}[{index}]", error) for index, item in enumerate(value)]
    if origin is dict and isinstance(value, dict):
        return {key: _value(arguments[1], item, f"{where}.{key}", error) for key, item in value.items()}
    if origin is types.UnionType:  # only `str | None`
        return None if value is None else _value(arguments[0], value, where, error)
    plain = (int, float) if hint is float else (origin or hint,)
    if not isinstance(value, plain) or (isinstance(value, bool) and hint is not bool):
        raise error(f"{where}: got {type(value).__name__}, expected {getattr(hint, '__name__', hint)}")
    return value
