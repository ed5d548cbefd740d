"""Whether an event has the shape that `events` and `rows` promise to everybody who reads it (pure).

Asked of what a peer sends, and of each line of a journal: another tool, another version or a damaged disk may have
written that. A reader asks it 40,000 times for a long journal, so what was found out about the types of an object's
values is kept: the next object of the same keys and types needs no more than a look at the size of its numbers.
"""

from __future__ import annotations

import functools
import operator
import re
import types
import typing
from collections import deque
from collections.abc import Callable, Set
from typing import Any, NamedTuple

from tfgpu_tui.core import rows
from tfgpu_tui.core.events import BY_TYPE, Event, from_dict, parse

Check = Callable[[Any], bool]

_LARGEST = 1e30
"""No count, size or time is larger, and what is made of two of them is still a number. Infinity and NaN are none."""
_LARGEST_METRIC = 1e300
LATEST = 250e9
"""Unix seconds that a calendar still has (year 9892)."""
_REMEMBERED = 256
"""Kinds of objects, by the types of their values, of each sort."""


class Kind(NamedTuple):
    """What a value may be."""

    plain: frozenset[type] = frozenset()
    """Types of which any value will do."""
    number: bool = False
    deep: Check | None = None
    """Asked of a list or an object."""
    anything: bool = False
    whole: bool = False
    """A number that bits are shifted of."""


def _pairs(value: Any) -> bool:
    return all(len(point) >= 2 for point in value)


def _buckets(value: Any) -> bool:
    return all(_BUCKET.fullmatch(name) is not None for name in value)


_BUCKET = re.compile(r"-?[0-9]{1,6}")
_MORE: dict[tuple[str, str], Check] = {
    ("steps", "periods"): _buckets,
    ("process_memory", "points"): _pairs,
    ("out_of_memory", "chunks"): _pairs,
}
"""What the reducer takes for granted of a field besides its declared type, by event and field."""


def read(line: bytes) -> Event | None:
    """The event of a journal's line; None for what is none, or of a newer type, or does not fit."""
    data = parse(line)
    kind = None if data is None else data.get("type")
    cls = BY_TYPE.get(kind) if isinstance(kind, str) else None
    return from_dict(data) if data is not None and cls is not None and _check(cls)(data) else None


def misfit(event: Event) -> str | None:
    """The name of the first field whose value is not of its declared type; None where all fit. Any number will do for
    `int` and `float`, as long as it is finite: which of the two JSON has is the sender's choice."""
    values = vars(event)
    if _check(type(event))(values):
        return None
    wrong = (name for name, kind in _fields(type(event)).items() if not fits(kind, values[name]))
    return next(wrong, "t")


@functools.cache
def kind_of(hint: Any) -> Kind:
    """Of a type as it is declared. A row (`core/rows.py`) needs the keys that its class requires; keys that it does not
    declare are free."""
    if hint in (Any, object):
        return Kind(anything=True)
    if typing.is_typeddict(hint):
        return Kind(deep=_row(hint))
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return kind_of(arguments[0])._replace(whole=rows.WHOLE in arguments)
    if origin in (types.UnionType, typing.Union):
        return _either([kind_of(argument) for argument in arguments])
    if origin is list:
        return Kind(deep=_items(kind_of(arguments[0]), list))
    if origin in (deque, set):
        return Kind(deep=_items(kind_of(arguments[0]), origin))
    if origin is tuple:
        return Kind(deep=_tuple([kind_of(argument) for argument in arguments if argument is not Ellipsis],
                                any_number=Ellipsis in arguments))  # fmt: skip
    if origin is dict:
        if arguments[1] == float | str:
            return Kind(deep=_metrics)
        values = _items(kind_of(arguments[1]), dict)
        keys = kind_of(arguments[0])  # in JSON they are text; a checkpoint has others, too
        return Kind(deep=values if arguments[0] is str else lambda d: values(d) and all(fits(keys, key) for key in d))
    return Kind(number=True) if hint in (int, float) else Kind(frozenset({hint}))


def fits(kind: Kind, value: Any) -> bool:
    """Whether a value is of a kind."""
    of = type(value)
    if kind.anything or of in kind.plain:
        return True
    if of is float or of is int:
        return kind.number and not (kind.whole and of is float) and -_LARGEST <= value <= _LARGEST
    return kind.deep is not None and kind.deep(value)


def _either(kinds: list[Kind]) -> Kind:
    deep = [kind.deep for kind in kinds if kind.deep is not None]
    return Kind(
        frozenset[type]().union(*(kind.plain for kind in kinds)),
        number=any(kind.number for kind in kinds),
        deep=deep[0] if deep else None,
        whole=any(kind.whole for kind in kinds),
    )


def _items(kind: Kind, container: Any) -> Check:
    allowed = kind.plain | {int, float} if kind.number else kind.plain

    def all_fit(value: Any) -> bool:
        if type(value) is not container:
            return False
        items = value.values() if container is dict else value
        of = set(map(type, items))
        if not of or kind.anything:
            return True
        if of <= _NUMBERS and kind.number:
            return bool(max(items) <= _LARGEST and min(items) >= -_LARGEST)
        if kind.deep is None and not of <= allowed:
            return False
        return of <= kind.plain or all(fits(kind, item) for item in items)

    return all_fit


_NUMBERS = {int, float}


def _tuple(kinds: list[Kind], any_number: bool) -> Check:
    def all_fit(value: Any) -> bool:
        if type(value) is not tuple or (len(value) != len(kinds) and not any_number):
            return False
        return all(fits(kind, item) for kind, item in zip(kinds * (len(value) if any_number else 1), value))  # noqa: B905

    return all_fit


def _metrics(value: Any) -> bool:
    """Values of the training's own: a loss may be as large as it likes."""
    return type(value) is dict and all(
        type(item) is str or (type(item) in _NUMBERS and -_LARGEST_METRIC <= item <= _LARGEST_METRIC)
        for item in value.values()
    )


@functools.cache
def _row(cls: Any) -> Check:
    hints = typing.get_type_hints(cls, include_extras=True)
    return _object({name: kind_of(hint) for name, hint in hints.items()}, cls.__required_keys__)


class _Known(NamedTuple):
    """What is left to be asked of objects with certain keys and types."""

    numbers: Callable[[dict[str, Any]], Any] | None
    deep: tuple[tuple[str, Check], ...]


def _object(kinds: dict[str, Kind], needed: Set[str]) -> Check:
    known: dict[tuple[Any, ...], _Known] = {}

    def all_fit(row: Any) -> bool:
        if type(row) is not dict:
            return False
        signature = (*row, *map(type, row.values()))
        found = known.get(signature)
        if found is None:
            found = _learn(kinds, needed, row)
            if found is None:
                return False
            if len(known) < _REMEMBERED:
                known[signature] = found
        if found.numbers is not None:
            numbers = found.numbers(row)
            if max(numbers) > _LARGEST or min(numbers) < -_LARGEST:
                return False
        for name, check in found.deep:  # noqa: SIM110 (the generator of `all` costs more than most of the checks)
            if not check(row[name]):
                return False
        return True

    return all_fit


def _learn(kinds: dict[str, Kind], needed: Set[str], row: dict[str, Any]) -> _Known | None:
    """None where the types of its values tell already that it does not fit."""
    if not needed <= row.keys():
        return None
    numbers: list[str] = []
    deep: list[tuple[str, Check]] = []
    for name in row.keys() & kinds.keys():
        kind, of = kinds[name], type(row[name])
        if kind.anything or of in kind.plain:
            continue
        if of in _NUMBERS and kind.number and not (kind.whole and of is float):
            numbers.append(name)
        elif of in (list, dict) and kind.deep is not None:
            deep.append((name, kind.deep))
        else:
            return None
    if len(numbers) == 1:
        numbers *= 2  # `itemgetter` makes no tuple of one
    return _Known(operator.itemgetter(*numbers) if numbers else None, tuple(deep))


def _fields(cls: type[Event]) -> dict[str, Kind]:
    out = {}
    for name, hint in typing.get_type_hints(cls).items():
        if typing.get_origin(hint) is typing.ClassVar:
            continue
        kind, more = kind_of(hint), _MORE.get((cls.type, name))
        out[name] = kind._replace(deep=_both(kind.deep, more)) if more is not None and kind.deep is not None else kind
    return out


def _both(first: Check, second: Check) -> Check:
    return lambda value: first(value) and second(value)


_checks: dict[str, Check] = {}


def _check(cls: type[Event]) -> Check:
    """Of an event's values; made when the first of its type comes."""
    found = _checks.get(cls.type)
    if found is None:
        rest = _object(_fields(cls), {"t"})
        found = _checks[cls.type] = lambda values: rest(values) and 0 <= values["t"] <= LATEST
    return found
