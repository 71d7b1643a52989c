"""What every part of a fit config is: frozen, constrained, and where it is a choice, chosen by name."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self, TypeVar, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SerializeAsAny, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from linfit.errors import brief

#: The group of entry points by which an installed package declares modules that define more components.
ENTRY_POINTS = "linfit.components"


class Repeats:
    """The mark of a field that only repeats a fit: another value draws other random numbers."""


#: A seed is an integer, 0 is one of them. It fits in the 32 bits that SeedSequence takes as one word:
#: a larger one would spill into the purpose beside it, and two streams would coincide.
#: A field of this type is no setting to be tuned: fits that differ in seeds alone repeat one setting.
#: A component's `Seed | None` follows the fit's `seed` where it is None.
Seed = Annotated[int, Field(ge=0, le=2**32 - 1), Repeats()]


class Frozen(BaseModel):
    """A typed record that never changes; unknown keys, NaN and infinity are refused, `1` passes as `1.0`, `"1"` does not."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    #: Fields that are left out of what identifies a fit while they are at their default, at which they change no number:
    #: a field that is added later then leaves the fingerprints of earlier configs as they are.
    later: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        """pydantic forbids unknown keys too, but does not say which are known."""
        known = (
            cls.model_fields
        )  # read once: it is a property, and this runs for every fit of a sweep
        strangers = [key for key in data if key not in known] if isinstance(data, Mapping) else []
        if strangers:
            raise PydanticCustomError(
                "component", "{hint}", {"hint": unknown("key", str(strangers[0]), list(known))}
            )
        return data

    @classmethod
    @cache
    def seeds(cls) -> tuple[str, ...]:
        """Return the fields of type `Seed`, by which a fit is repeated."""
        return tuple(name for name, field in cls.model_fields.items() if _is_seed(field))

    def neutral(self) -> list[str]:
        """The fields of `later` that are at their default."""
        fields = type(self).model_fields
        return [name for name in self.later if getattr(self, name) == fields[name].default]


def _is_seed(field: FieldInfo) -> bool:
    """Return whether a field is of type `Seed`, or of `Seed | None`."""
    inner = [mark for kind in get_args(field.annotation) for mark in get_args(kind)]
    return any(isinstance(mark, Repeats) for mark in (*field.metadata, *inner))


class Component(Frozen, ABC):
    """One choice in a config group: its fields are its hyperparameters.

    A direct subclass is a group (`Optimizer` is the group `optimizer`). A class below it that gives `name` a default is
    a choice of that group, from the moment it is defined: `class Lion(Optimizer): name: Literal["lion"] = "lion"`.
    """

    group: ClassVar[str]
    choices: ClassVar[dict[str, type[Component]]]

    name: str

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if Component in cls.__bases__:
            cls.group, cls.choices = cls.__name__.lower(), {}
        elif isinstance(name := cls.model_fields["name"].default, str):
            taken = cls.choices.get(name)
            if taken is not None and (taken.__module__, taken.__qualname__) != (
                cls.__module__,
                cls.__qualname__,
            ):
                raise ValueError(
                    f"{cls.group} {name!r} exists already, in {taken.__module__}: give yours another name"
                )
            cls.choices[name] = cls

    @classmethod
    def choose(cls, value: Any) -> Self:
        """The component that `value` describes: itself, its name, or a mapping with its name and hyperparameters."""
        if isinstance(value, cls):
            return value
        fields = {"name": value} if isinstance(value, str) else value
        if not isinstance(fields, Mapping) or not isinstance(fields.get("name"), str):
            raise PydanticCustomError(
                "component",
                "must be a name or a mapping with a name, one of {names}",
                {"names": cls.names()},
            )
        chosen = cls.choices.get(fields["name"])
        if chosen is None:
            raise PydanticCustomError(
                "component",
                "{hint}",
                {"hint": unknown(f"{cls.group}", fields["name"], cls.choices)},
            )
        if lacking := ", ".join(sorted(chosen.__abstractmethods__)):
            hint = f"{chosen.__qualname__} of {chosen.__module__} lacks {lacking}: write what every {cls.group} has (docs/plugins.md)"
            raise PydanticCustomError("component", "{hint}", {"hint": hint})
        return chosen.model_validate(dict(fields))  # type: ignore[return-value]

    @classmethod
    def stackable(cls) -> bool:
        """Whether this very class has a rule `stacked`. None is inherited: what changes its parent's deeds may break its rule."""
        return "stacked" in vars(cls)

    @classmethod
    def has_lines(cls) -> bool:
        """Whether this very class says in `lines` how a plain program does what it does. As of `stacked`, none is inherited."""
        return "lines" in vars(cls)

    @classmethod
    def names(cls) -> str:
        return ", ".join(sorted(cls.choices))


if TYPE_CHECKING:
    T = TypeVar("T")
    #: `Choice[Optimizer]` is any optimizer, validated by its name and serialized as its own class.
    Choice = Annotated[T, "by name"]
else:

    class Choice:
        def __class_getitem__(cls, group: type[Component]) -> Any:
            return SerializeAsAny[Annotated[group, BeforeValidator(group.choose)]]


#: What is meant by names that spelling alone would lead elsewhere.
OTHER_NAMES = {"gpu": "cuda"}


def unknown(what: str, name: str, known: Mapping[str, Any] | list[str]) -> str:
    """A sentence that says that `name` is not known, offers the nearest that is, and lists the rest."""
    name = brief(name)
    near = (
        [OTHER_NAMES[name]]
        if OTHER_NAMES.get(name) in known
        else get_close_matches(name, known, n=1)
    )
    hint = f"did you mean {near[0]!r}? " if near else ""
    return (
        f"no {what} {name!r}: {hint}there are {', '.join(sorted(known))}"
        if known
        else f"no {what} {name!r}: there are none"
    )
