"""Replace passwords and other secrets in texts that are written or printed.

    text → keys and tokens that are known by their shape
         → addresses
         → values behind names that say that they are secret

Where it is unclear where a secret ends, the rest of its line is replaced too.
"""

from __future__ import annotations

import os
import re
from typing import Any

from linfit.tracking.secrets.address_secrets import mask_addresses
from linfit.tracking.secrets.named_values import SECRET_NAME_PARTS, mask_named_values
from linfit.tracking.secrets.secret_names import MASKED, find_innocent, is_secret_name
from linfit.tracking.secrets.token_shapes import MIN_KEY_LENGTH, TOKEN_BEGINNINGS, mask_shapes

#: A quick look for a text that may have a secret.
_HINT = re.compile(
    "|".join(
        map(
            re.escape,
            (*TOKEN_BEGINNINGS, *SECRET_NAME_PARTS, "@", "://", "odbc", "hook", "begin", "-u"),
        )
    )
    + r"|:\d{2,5}:"
)
_ENVIRONMENT = re.compile(r"\$\{oc\.env:([^,${}]+)[^${}]*\}")
#: A shorter value would be found in every other word.
MIN_VALUE_LENGTH = 4
#: Values from the environment, and the references that stand for them.
_FROM_ENVIRONMENT: dict[str, str] = {}


def mask(text: str) -> str:
    """Return the text with every secret replaced.

    A reference to the environment is no secret.
    """
    # most overrides end here
    if len(text) < MIN_KEY_LENGTH and _HINT.search(text.lower()) is None:
        return text
    text = mask_shapes(text)
    text = mask_addresses(text)
    return mask_named_values(text)


def mask_error(text: str) -> str:
    """Mask the text of an error.

    Values of the environment that a store was opened with become references again.
    """
    for value, reference in _FROM_ENVIRONMENT.items():
        text = text.replace(value, reference)
    return mask(text)


def hide_references(text: str) -> None:
    """Make `mask_error` replace the values of a text's references.

    They are references to the environment. A reference that is the whole text is an address, and is
    shown.
    """
    for found in _ENVIRONMENT.finditer(text):
        value = os.environ.get(found[1], "")
        if found[0] != text and len(value) >= MIN_VALUE_LENGTH:
            _FROM_ENVIRONMENT[value] = found[0]


def mask_data(data: Any) -> Any:
    """Return plain data with every string masked.

    Under the name of a secret, all of it is masked.
    """
    if isinstance(data, str):
        return mask(data)
    if isinstance(data, dict):
        return {key: _mask_entry(key, value) for key, value in data.items()}
    if isinstance(data, list):
        return list(map(mask_data, data))
    return data


def _mask_entry(key: Any, value: Any) -> Any:
    is_named = isinstance(key, str) and isinstance(value, str) and is_secret_name(key)
    if is_named and value and find_innocent(key, value, 0) is None:
        return MASKED
    return mask_data(value)
