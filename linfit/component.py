"""Base classes of every part of a fit config: frozen, constrained, and chosen by name.

A component's optional methods, such as `stacked` and `script_lines`, are rules of the very class
that states them: they are not inherited, because a subclass with another update would run its
parent's rule. A subclass that changes nothing they depend on says so: `class Louder(Adam,
keeps=[Adam.stacked])`.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from inspect import getattr_static
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self, TypeVar, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SerializeAsAny, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from linfit.errors import shorten

#: Group of entry points by which an installed package declares modules that define components.
ENTRY_POINTS = "linfit.components"

#: Earlier names of optional rules, which plug-ins may still use.
EARLIER_NAMES = {"lines": "script_lines"}

OptionalMethod = TypeVar("OptionalMethod", bound=Callable[..., Any])


class RepetitionMark:
    """Mark of a field that only repeats a fit.

    Another value draws other random numbers.
    """


#: A seed is an integer, 0 is one of them. It fits in the 32 bits that SeedSequence takes as one
#: word: a larger one would spill into the purpose next to it, and two streams would coincide. A
#: field of this type is no setting to be tuned: fits that differ in seeds alone repeat one setting.
#: A component's `Seed | None` follows the fit's `seed` where it is None.
Seed = Annotated[int, Field(ge=0, le=2**32 - 1), RepetitionMark()]


class Frozen(BaseModel):
    """Typed, immutable record.

    It refuses unknown keys, NaN and infinity; `1` passes as `1.0`, `"1"` does not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    #: Fields that the fingerprint leaves out at their default, where they change no number.
    #: A field that is added later thus leaves the fingerprints of earlier configs as they are.
    omitted_at_default: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        """Refuse an unknown key by name: pydantic forbids it too, but does not list the known."""
        if not isinstance(data, Mapping):
            return data
        # Read once: it is a property, and this runs for every fit of a sweep.
        known = cls.model_fields
        for key in data:
            if key not in known:
                hint = describe_unknown("key", str(key), list(known))
                raise PydanticCustomError("component", "{hint}", {"hint": hint})
        return data

    @classmethod
    @cache
    def list_seed_fields(cls) -> tuple[str, ...]:
        """Return the fields of type `Seed`, which repeat a fit."""
        return tuple(name for name, field in cls.model_fields.items() if _is_seed(field))

    def list_neutral_fields(self) -> list[str]:
        """Return the fields of `omitted_at_default` that are at their default."""
        fields = type(self).model_fields
        return [
            name for name in self.omitted_at_default if getattr(self, name) == fields[name].default
        ]


def _is_seed(field: FieldInfo) -> bool:
    """Return True for a field of type `Seed` or `Seed | None`."""
    inner = chain.from_iterable(map(get_args, get_args(field.annotation)))
    return any(isinstance(mark, RepetitionMark) for mark in (*field.metadata, *inner))


def optional(method: OptionalMethod) -> OptionalMethod:
    """Mark a method as an optional rule of its group.

    Its classes may state the rule, each for itself.
    """
    vars(method)["is_optional_rule"] = True
    return method


class Component(Frozen, ABC):
    """One choice in a config group; its fields are its hyperparameters.

    A direct subclass is a group (`Optimizer` is the group `optimizer`). A class below it that gives
    `name` a default is a choice of that group, from the moment it is defined:
    `class Lion(Optimizer): name: Literal["lion"] = "lion"`.
    """

    group: ClassVar[str]
    choices: ClassVar[dict[str, type[Component]]]
    #: The optional rules that this class states itself or keeps of its parent.
    own_rules: ClassVar[frozenset[str]] = frozenset()

    name: str

    if not TYPE_CHECKING:

        def __init_subclass__(cls, keeps: Sequence[Callable[..., Any]] = (), **kwargs: Any) -> None:
            # `keeps` is read below; here it must only not reach `object`, which takes no keyword.
            super().__init_subclass__(**kwargs)

    @classmethod
    def __pydantic_init_subclass__(
        cls, keeps: Sequence[Callable[..., Any]] = (), **kwargs: Any
    ) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if Component in cls.__bases__:
            cls.group = cls.__name__.lower()
            cls.choices = {}
            return
        cls._settle_rules({method.__name__ for method in keeps})
        name = cls.model_fields["name"].default
        if isinstance(name, str):
            cls._register(name)

    @classmethod
    def _settle_rules(cls, kept: set[str]) -> None:
        """Record the optional rules of the class, and give it the group's defaults for the rest."""
        group = next(base for base in cls.__mro__ if Component in base.__bases__)
        parents = [base.own_rules for base in cls.__bases__ if issubclass(base, Component)]
        if strange := kept.difference(*parents):
            raise ValueError(
                f"{cls.__qualname__} keeps {', '.join(sorted(strange))}, which its parent does not "
                "state: keep rules of the parent alone"
            )
        for earlier, name in EARLIER_NAMES.items():
            if earlier in vars(cls) and name not in vars(cls):
                setattr(cls, name, vars(cls)[earlier])
        own = set(kept)
        for name, method in vars(group).items():
            if not getattr(method, "is_optional_rule", False) or name in kept:
                continue
            if name in vars(cls):
                own.add(name)
            else:
                setattr(cls, name, getattr_static(group, name))
        cls.own_rules = frozenset(own)

    @classmethod
    def _register(cls, name: str) -> None:
        """Make the class the choice `name` of its group; a module imported again may replace it."""
        taken = cls.choices.get(name)
        if taken is not None:
            place = (taken.__module__, taken.__qualname__)
            if place != (cls.__module__, cls.__qualname__):
                raise ValueError(
                    f"{cls.group} {name!r} exists already, in {taken.__module__}: "
                    "give yours another name"
                )
        cls.choices[name] = cls

    @classmethod
    def choose(cls, value: Any) -> Self:
        """Return the component that `value` describes.

        `value` is a component, its name, or a mapping with its name and hyperparameters.
        """
        if isinstance(value, cls):
            return value
        fields = value
        if isinstance(value, str):
            fields = {"name": value}
        if not isinstance(fields, Mapping) or not isinstance(fields.get("name"), str):
            raise PydanticCustomError(
                "component",
                "must be a name or a mapping with a name, one of {names}",
                {"names": cls.list_names()},
            )
        chosen = cls.choices.get(fields["name"])
        if chosen is None:
            hint = describe_unknown(cls.group, fields["name"], cls.choices)
            raise PydanticCustomError("component", "{hint}", {"hint": hint})
        if lacking := ", ".join(sorted(chosen.__abstractmethods__)):
            hint = (
                f"{chosen.__qualname__} of {chosen.__module__} lacks {lacking}: "
                f"write what every {cls.group} has (docs/plugins.md)"
            )
            raise PydanticCustomError("component", "{hint}", {"hint": hint})
        return chosen.model_validate(dict(fields))  # type: ignore[return-value]

    @classmethod
    def states(cls, rule: Callable[..., Any]) -> bool:
        """Return True if this class states an optional rule.

        The rule is its own, or kept from its parent.
        """
        return rule.__name__ in cls.own_rules

    @classmethod
    def supports_stacking(cls) -> bool:
        """Return True if this class has a rule `stacked`.

        With it, stacks run the class.
        """
        return "stacked" in cls.own_rules

    @classmethod
    def has_script(cls) -> bool:
        """Return True if this class has `script_lines`.

        They say how a plain program does its part.
        """
        return "script_lines" in cls.own_rules

    @classmethod
    def list_names(cls) -> str:
        """Return the names of all choices of the group, as text."""
        return ", ".join(sorted(cls.choices))


if TYPE_CHECKING:
    T = TypeVar("T")
    #: `Choice[Optimizer]` is any optimizer, validated by its name and serialized as its own class.
    Choice = Annotated[T, "by name"]
else:

    class Choice:
        def __class_getitem__(cls, group: type[Component]) -> Any:
            return SerializeAsAny[Annotated[group, BeforeValidator(group.choose)]]


#: Names whose meaning spelling alone would miss.
ALIASES = {"gpu": "cuda"}


def describe_unknown(what: str, name: str, known: Mapping[str, Any] | list[str]) -> str:
    """Return a sentence that `name` is unknown.

    It has the nearest known name and a list of all.
    """
    name = shorten(name)
    if not known:
        return f"no {what} {name!r}: there are none"
    alias = ALIASES.get(name)
    near = [alias] if alias in known else get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"no {what} {name!r}: {hint}there are {', '.join(sorted(known))}"
