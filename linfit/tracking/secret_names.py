"""Which names say that their value is a secret, and which values are none whatever their name: numbers, references, types."""

from __future__ import annotations

import re
from functools import lru_cache

#: Ends of words that say it, as in `dbpassword` and `auth-token`.
_SECRET_ENDS = (
    *(
        "password",
        "passwort",
        "passwd",
        "passphrase",
        "passcode",
        "pwd",
        "secret",
        "token",
        "credential",
        "signature",
        "cookie",
    ),
    *(
        "apikey",
        "accesskey",
        "accountkey",
        "privatekey",
        "secretkey",
        "authkey",
        "masterkey",
        "signingkey",
        "encryptionkey",
        "sshkey",
    ),
)
#: Whole words that say it.
_SECRET_WORDS = {"pass", "pw", "cred", "creds", "authorization", "authorisation", "bearer"}
#: Words before `key` with which it opens nothing; by itself, `key` is a name like any other.
_ORDINARY_KEYS = {
    *(
        "primary",
        "foreign",
        "public",
        "sort",
        "cache",
        "partition",
        "group",
        "index",
        "join",
        "dict",
        "map",
        "lookup",
        "registry",
        "metric",
    ),
    *(
        "param",
        "tag",
        "config",
        "json",
        "yaml",
        "column",
        "row",
        "hash",
        "natural",
        "unique",
        "composite",
        "surrogate",
        "hot",
        "short",
    ),
    *(
        "arrow",
        "on",
        "by",
        "object",
        "data",
        "run",
        "seed",
        "random",
        "rng",
        "prng",
        "state",
        "first",
        "last",
        "next",
        "min",
        "max",
        "any",
    ),
    *(
        "the",
        "a",
        "each",
        "this",
        "that",
        "no",
        "same",
        "other",
        "new",
        "old",
        "legend",
        "field",
        "attribute",
        "override",
        "missing",
    ),
}
#: Last words that say that the value is something about a secret.
_ABOUT = {
    *(
        "count",
        "counts",
        "length",
        "len",
        "size",
        "limit",
        "type",
        "name",
        "names",
        "id",
        "ids",
        "index",
        "path",
        "file",
        "files",
        "dir",
    ),
    *(
        "url",
        "uri",
        "column",
        "columns",
        "field",
        "fields",
        "ratio",
        "rate",
        "mean",
        "std",
        "min",
        "max",
        "num",
        "policy",
        "expiry",
        "ttl",
    ),
    *(
        "usage",
        "embedding",
        "embeddings",
        "dim",
        "mask",
        "weight",
        "weights",
        "loss",
        "prob",
        "frequency",
        "freq",
        "position",
        "strength",
    ),
    *(
        "score",
        "level",
        "required",
        "enabled",
        "class",
        "kind",
        "format",
        "encoding",
        "prefix",
        "suffix",
        "pattern",
        "manager",
        "provider",
    ),
    *(
        "store",
        "backend",
        "header",
        "variable",
        "var",
        "env",
        "parallelism",
        "features",
        "feature",
        "set",
        "list",
        "table",
        "group",
    ),
}
#: Names whose values are secrets also where they are digits.
_NUMBERS_TOO = re.compile(
    r"pass|pwd|pw\b|secret|(?:api|private|access|account)[_-]?key|pin\b", re.I
)
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
#: In an address, where every name counts that has one of these in it.
ADDRESS_NAME = (
    r"(?:passw(?:or)?d|pwd|passphrase|secret|token|api[_-]?key|access[_-]?key|account[_-]?key|private[_-]?key|authorization|credential"
    r"|signature|\bsig\b|\bcode\b)"
)
_END = r"(?=[\s,;)\]}&\"'`\\<>]|$)"
_NUMBER = r"[-+]?(?:\d{1,40}\.\d{0,40}|\.\d{1,40}|\d{1,40})(?:[eE][-+]?\d{1,4})?"
_FRACTION = re.compile(rf"(?:[-+]?\d{{1,3}}|(?=[-+\d]*\.|[-+\d]+[eE]){_NUMBER}){_END}")
_NUMERIC = re.compile(rf"(?:{_NUMBER}{_END}|[\[(][-+\d\s.,eE]{{0,4096}}[\])])")
#: What is no secret by itself: nothing, a truth value, a reference, what is masked.
_PLAIN = re.compile(
    rf"(?:(?:true|false|null|none|nan|[-+]?\.?inf|yes|no|on|off|~){_END}|[\[({{][ \t]{{0,8}}[\])}}]|([\"'])\1(?!\1)|\*{{3}}"
    r"|[\"']?(?:\$\{\{?[^{}\s,]{0,200}\}|\$[A-Za-z_]\w{0,64}(?!\w)|%\w{1,64}%|\*{3})[\"']?(?=[\s,;)\]}&]|$)"
    r"|(?:os\.)?(?:environ|getenv)\b|getpass\b|(?:self|args|cfg|config|settings|options)\.[A-Za-z_]\w{0,64})",
    re.I,
)


@lru_cache(4096)
def is_secret_name(name: str) -> bool:
    """Return True where a name says that its value is a secret: `aws_secret_access_key`, and neither `token_count` nor `sort_key`."""
    words = [word.lower() for word in _WORD.findall(name[-200:]) if not word.isdigit()]
    if not words or words[-1] in _ABOUT:
        return False
    return any(
        _is_secret_word(word, words[place - 1] if place else "") for place, word in enumerate(words)
    )


def _is_secret_word(word: str, before: str) -> bool:
    if word in ("key", "keys"):
        return bool(before) and before not in _ORDINARY_KEYS
    return word in _SECRET_WORDS or word.removesuffix("s").endswith(_SECRET_ENDS)


def find_innocent(name: str, line: str, start: int) -> re.Match[str] | None:
    """Return the value that begins at `start` of a line where it is no secret: a number, a reference, nothing; else None."""
    numbers = _FRACTION if _NUMBERS_TOO.search(name) else _NUMERIC
    return _PLAIN.match(line, start) or numbers.match(line, start)
