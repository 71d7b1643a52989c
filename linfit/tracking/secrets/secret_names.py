"""Tell names whose values are secrets.

Numbers, references and types are no secrets, whatever their name.
"""

from __future__ import annotations

import re
from functools import lru_cache

#: What stands in place of a secret.
MASKED = "***"
#: Endings of words that name a secret, as in `dbpassword` and `auth-token`.
# fmt: off
_SECRET_ENDS = (
    "password", "passwort", "passwd", "passphrase", "passcode", "pwd", "secret", "token",
    "credential", "signature", "cookie", "apikey", "accesskey", "accountkey", "privatekey",
    "secretkey", "authkey", "masterkey", "signingkey", "encryptionkey", "sshkey",
)
# fmt: on
#: Whole words that name a secret.
_SECRET_WORDS = {"pass", "pw", "cred", "creds", "authorization", "authorisation", "bearer"}
#: Words before `key` with which it opens nothing. By itself, `key` is a name like any other.
# fmt: off
_ORDINARY_KEYS = {
    "primary", "foreign", "public", "sort", "cache", "partition", "group", "index", "join",
    "dict", "map", "lookup", "registry", "metric", "param", "tag", "config", "json", "yaml",
    "column", "row", "hash", "natural", "unique", "composite", "surrogate", "hot", "short",
    "arrow", "on", "by", "object", "data", "run", "seed", "random", "rng", "prng", "state",
    "first", "last", "next", "min", "max", "any", "the", "a", "each", "this", "that", "no",
    "same", "other", "new", "old", "legend", "field", "attribute", "override", "missing",
}
# fmt: on
#: Last words of names whose value is something about a secret.
# fmt: off
_ABOUT = {
    "count", "counts", "length", "len", "size", "limit", "type", "name", "names", "id", "ids",
    "index", "path", "file", "files", "dir", "url", "uri", "column", "columns", "field", "fields",
    "ratio", "rate", "mean", "std", "min", "max", "num", "policy", "expiry", "ttl", "usage",
    "embedding", "embeddings", "dim", "mask", "weight", "weights", "loss", "prob", "frequency",
    "freq", "position", "strength", "score", "level", "required", "enabled", "class", "kind",
    "format", "encoding", "prefix", "suffix", "pattern", "manager", "provider", "store",
    "backend", "header", "variable", "var", "env", "parallelism", "features", "feature", "set",
    "list", "table", "group",
}
# fmt: on
#: Names whose values are secrets even if they are digits.
_NUMBERS_TOO = re.compile(
    r"pass|pwd|pw\b|secret|(?:api|private|access|account)[_-]?key|pin\b", re.I
)
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
#: Parts of names of secrets in an address.
SECRET_ADDRESS_NAME = (
    r"(?:passw(?:or)?d|pwd|passphrase|secret|token|api[_-]?key|access[_-]?key|account[_-]?key"
    r"|private[_-]?key|authorization|credential"
    r"|signature|\bsig\b|\bcode\b)"
)
_END = r"(?=[\s,;)\]}&\"'`\\<>]|$)"
_NUMBER = r"[-+]?(?:\d{1,40}\.\d{0,40}|\.\d{1,40}|\d{1,40})(?:[eE][-+]?\d{1,4})?"
_FRACTION = re.compile(rf"(?:[-+]?\d{{1,3}}|(?=[-+\d]*\.|[-+\d]+[eE]){_NUMBER}){_END}")
_NUMERIC = re.compile(rf"(?:{_NUMBER}{_END}|[\[(][-+\d\s.,eE]{{0,4096}}[\])])")
#: Values that are no secret: nothing, a truth value, a reference, a masked value.
_PLAIN = re.compile(
    rf"(?:(?:true|false|null|none|nan|[-+]?\.?inf|yes|no|on|off|~){_END}"
    rf"|[\[({{][ \t]{{0,8}}[\])}}]|([\"'])\1(?!\1)|\*{{3}}"
    r"|[\"']?(?:\$\{\{?[^{}\s,]{0,200}\}|\$[A-Za-z_]\w{0,64}(?!\w)|%\w{1,64}%|\*{3})[\"']?(?="
    r"[\s,;)\]}&]|$)"
    r"|(?:os\.)?(?:environ|getenv)\b|getpass\b|(?:self|args|cfg|config|settings|options)\."
    r"[A-Za-z_]\w{0,64})",
    re.I,
)


@lru_cache(4096)
def is_secret_name(name: str) -> bool:
    """Return True for the name of a secret.

    `aws_secret_access_key` is one, `token_count` and `sort_key` are none.
    """
    words = [word.lower() for word in _WORD.findall(name[-200:]) if not word.isdigit()]
    if not words or words[-1] in _ABOUT:
        return False
    return any(map(_is_secret_word, words, ["", *words]))


def _is_secret_word(word: str, before: str) -> bool:
    if word in ("key", "keys"):
        return bool(before) and before not in _ORDINARY_KEYS
    return word in _SECRET_WORDS or word.removesuffix("s").endswith(_SECRET_ENDS)


def find_innocent(name: str, line: str, start: int) -> re.Match[str] | None:
    """Return the value from `start` of a line, if harmless.

    None if it may be a secret. No secrets are a number, a reference, and nothing.
    """
    numbers = _FRACTION if _NUMBERS_TOO.search(name) else _NUMERIC
    return _PLAIN.match(line, start) or numbers.match(line, start)
