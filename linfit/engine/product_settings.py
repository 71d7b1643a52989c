"""Which products fits are computed with: MKL's setting, and the form that a stack takes.

Both decide bits, so both are recorded with a run. A run that an earlier linfit recorded names no
form: its stack multiplied element by element, and MKL_CBWR was COMPATIBLE.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from linfit.errors import ConfigError

MKL_SETTING = "MKL_CBWR"
#: Values that linfit gives to MKL_CBWR. Another value is the user's.
OWN_SETTINGS = ("AUTO", "COMPATIBLE")
#: Environment variable that names the form of a stack's products, and that workers inherit.
FORM_SETTING = "LINFIT_STACK_PRODUCTS"
PANELS = "panels"
ELEMENTWISE = "elementwise"
FORMS = (PANELS, ELEMENTWISE)

_is_begun = False


def find_stack_form() -> str:
    """Return the form that a stack of this process takes, where its shape allows for panels.

    Raise ConfigError if the environment names another.
    """
    form = os.environ.get(FORM_SETTING) or PANELS
    if form not in FORMS:
        raise ConfigError(f"{FORM_SETTING}={form} is no form: choose {' or '.join(FORMS)}")
    return form


def find_mkl_setting(machine: Mapping[str, Any]) -> str:
    """Return MKL_CBWR of a run whose environment is `machine`, if linfit set it, else today's."""
    setting = str(machine.get("mkl_cbwr"))
    return setting if setting in OWN_SETTINGS else OWN_SETTINGS[0]


def note_products() -> None:
    """Note that products begin: MKL reads its setting before its first one, and never again."""
    global _is_begun
    _is_begun = True


@contextmanager
def use_recorded_products(machine: Mapping[str, Any]) -> Iterator[None]:
    """Compute with the products of a run, whose environment `machine` is; then as before.

    MKL keeps its setting if it was used before.
    """
    form = PANELS if machine.get("stack_products") == PANELS else ELEMENTWISE
    setting = machine.get("mkl_cbwr")
    if not _is_begun and setting in OWN_SETTINGS and os.environ.get(MKL_SETTING) in OWN_SETTINGS:
        os.environ[MKL_SETTING] = setting
    before = os.environ.get(FORM_SETTING)
    os.environ[FORM_SETTING] = form
    try:
        yield
    finally:
        del os.environ[FORM_SETTING]
        if before is not None:
            os.environ[FORM_SETTING] = before
