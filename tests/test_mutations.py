"""The table of faults fits the code: each row names one place, and tests that exist."""

from __future__ import annotations

import pytest

from tests.mutations import MUTATIONS, ROOT, Mutation, NotFoundError, has_test


def test_every_row_makes_a_fault_in_one_place() -> None:
    for mutation in MUTATIONS:
        text = (ROOT / "linfit" / mutation.file).read_text(encoding="utf-8")
        faulty = mutation.apply(text)
        assert faulty != text
        compile(faulty, mutation.file, "exec")
        assert all(has_test(ROOT, name) for name in mutation.test_names), mutation.tests


def test_rows_differ() -> None:
    assert len(MUTATIONS) >= 40
    assert len({(mutation.file, mutation.old) for mutation in MUTATIONS}) == len(MUTATIONS)


def test_names_may_change_and_texts_may_not() -> None:
    row = Mutation("a.py", "§ + 2 * §", "§ - 2 * §", "test_mutations.py")
    assert row.apply("y = one +\n  2 * self.other\n") == "y = one - 2 * self.other\n"
    with pytest.raises(NotFoundError, match="occurs 0 times"):
        row.apply("y = one + 3 * other")
    with pytest.raises(NotFoundError, match="occurs 2 times"):
        row.apply("a + 2 * b; c + 2 * d")
