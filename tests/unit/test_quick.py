"""`core.quick.dataclass` does what the standard one does, where it is used."""

from __future__ import annotations

import dataclasses
from dataclasses import field

import pytest

from tfgpu_tui.core.quick import dataclass


@dataclass(frozen=True, kw_only=True)
class Base:
    at: float
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class Point(Base):
    x: int
    seen: list[int] = field(default_factory=list, compare=False, repr=False)


@dataclass
class Sum:
    total: int = 0


def test_equal_fields_are_equal_and_one_key() -> None:
    one, same, other = Point(at=1.0, x=2, seen=[1]), Point(at=1.0, x=2), Point(at=1.0, x=3)
    assert one == same and one != other and len({one, same, other}) == 2
    assert one.__eq__((1.0, "", 2)) is NotImplemented and Base(at=1.0) != one


def test_what_is_no_key_is_refused_as_one() -> None:
    assert Sum(1) == Sum(1)
    with pytest.raises(TypeError):
        hash(Sum(1))


def test_it_is_a_dataclass_to_the_standard_library() -> None:
    point = Point(at=1.0, x=2)
    assert repr(point) == "Point(at=1.0, name='', x=2)"
    assert dataclasses.replace(point, x=5).x == 5 and dataclasses.asdict(point)["seen"] == []
    with pytest.raises(TypeError):
        Point(at=1.0)  # type: ignore[call-arg]


class Named(Base):
    """No dataclass of its own."""


@dataclass
class Doubled:
    total: int
    twice: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.twice = 2 * self.total


def test_the_first_object_of_a_class_is_made_as_every_other() -> None:
    for _ in range(2):
        assert Named(at=1.0, name="a").name == "a" and Doubled(2).twice == 4
    for _ in range(2):
        with pytest.raises(TypeError, match=r"Doubled\.__init__\(\) missing 1 required positional argument: 'total'"):
            Doubled()  # type: ignore[call-arg]
    assert type(Named(at=1.0)) is Named and type(Doubled(1)) is Doubled
