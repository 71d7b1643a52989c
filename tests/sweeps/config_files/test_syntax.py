"""Overrides that Hydra's grammar rejects: one line, with no word of that grammar."""

from __future__ import annotations

import re
from typing import Any

import pytest

import linfit
from linfit.errors import ConfigError

#: Words of the parser's own messages.
GRAMMAR = re.compile("expecting|viable|mismatched|extraneous|token|EOF|BRACKET|multirun")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("optimizer.lr=0.1,", "a comma is too many: write optimizer.lr=0.1"),
        ("optimizer.lr=,0.1", "a comma is too many: write optimizer.lr=0.1"),
        ("seed=1,,2", "a comma is too many: write seed=1,2"),
        ("plugins=[a,]", "a comma is too many: write 'plugins=[a]'"),
        ("plugins=[,a,,b]", "a comma is too many: write 'plugins=[a,b]'"),
        ("seed=choice(1,2,)", "a comma is too many: write 'seed=choice(1,2)'"),
        ("name='a,',", """write 'name='"'"'a,'"'"''"""),
        ("name=,", "text with special characters stands in quotes, 'name=\",\"'"),
        ("optimizer.lr==0.1", "= is too many: write optimizer.lr=0.1"),
        ("name=a=b", "= stands in the value too; text with special characters stands in quotes, "),
        ("optimizer.lr=[0.1", "[ is not closed"),
        ("seed=range(0,3", "( is not closed"),
        ("name=${x", "{ is not closed"),
        ("optimizer.lr=0.1]", "] closes nothing"),
        ("optimizer.lr=0.1,]", "] closes nothing"),
        ("plugins=[a)", ") closes nothing"),
        ("name='a", "the quote ' is not closed"),
        ('name=it"s', 'the quote " is not closed'),
        ("dataset={a b}", "{} holds KEY:VALUE"),
        (
            "name=a;b",
            "cannot be read: text with special characters stands in quotes, 'name=\"a;b\"'",
        ),
        ("seed=foo(1)", "foo(1): Unknown function 'foo'"),
        ("seed=range(a,b)", "range(a,b): mismatch type argument start"),
        ("optimizer.lr =0.1", "'optimizer.lr ' is no key; an override is KEY=VALUE"),
        (".lr=0.1", "'.lr' is no key"),
        ("=0.1", "=0.1 names no key: an override is KEY=VALUE"),
        ("seed=range(0,3)", "seed=range(0,3) is a sweep: add -m"),
        ("seed=choice(0,3)", "seed=choice(0,3) is a sweep: add -m"),
        ("optimizer=glob(*)", "optimizer=glob(*) is a sweep: add -m"),
        ("seed=shuffle(0,1)", "seed=shuffle(0,1) is a sweep: add -m"),
        ("optimizer.lr=interval(0,1)", "optimizer.lr=interval(0,1) is a sweep: add -m"),
        ("seed=0,1", "seed=0,1 has several values: add -m to sweep over them"),
    ],
)
def test_what_is_wrong_is_said_without_the_grammar(override: str, said: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        linfit.compose([override])
    line = str(refusal.value)
    assert said in line
    assert "\n" not in line and not GRAMMAR.search(line)


@pytest.mark.parametrize(
    "where", ["hydra.sweeper.grids=[{{optimizer.lr:'{}'}}]", "optimizer.lr={}"]
)
def test_a_sweep_says_it_likewise(where: str, linfit: Any) -> None:
    done = linfit("run", "-m", where.format("0.1,"))
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert "a comma is too many: write optimizer.lr=0.1" in done.err
