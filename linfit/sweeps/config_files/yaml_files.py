"""Config files as linfit reads them: only plain decimal digits are an integer.

YAML 1.1, which Hydra's own reader takes, has more integers: `1:10` is 70 in base sixty, `010` is 8,
`0x10` is 16 and `1_0` is 10. If a column has such a name, each would silently be a wrong number.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from omegaconf._utils import get_yaml_loader

_INTEGER = r"0|-?[1-9][0-9]*"
_FLOAT = (
    r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
#: Patterns of numbers, by YAML's name of the type.
_NUMBERS = {
    "tag:yaml.org,2002:int": re.compile(f"(?:{_INTEGER})$", re.ASCII),
    "tag:yaml.org,2002:float": re.compile(f"(?:{_FLOAT})$", re.ASCII),
}


@cache
def build_yaml_loader() -> Any:
    """Return OmegaConf's YAML loader, which then reads decimal numbers only."""
    loader = get_yaml_loader()  # each call defines a class, so that others keep their resolvers
    kept = {}
    for letter, resolvers in loader.yaml_implicit_resolvers.items():
        kept[letter] = [resolver for resolver in resolvers if resolver[0] not in _NUMBERS]
    loader.yaml_implicit_resolvers = kept
    for tag, pattern in _NUMBERS.items():
        loader.add_implicit_resolver(tag, pattern, list("-+.0123456789"))
    return loader
