"""Keys and tokens that are known by their shape."""

from __future__ import annotations

import re
from itertools import pairwise

from linfit.tracking.secrets.secret_names import MASKED

_PRIVATE_KEY = re.compile(
    r"(-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,10}-----).*?(-----END [A-Z0-9 ]{0,60}-----"
    r"|\Z)",
    re.DOTALL,
)
#: Beginnings of tokens to which services give a prefix, so that they can be found.
# fmt: off
TOKEN_BEGINNINGS = (
    "akia", "asia", "abia", "acca", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "_pat_", "glpat-",
    "glrt-", "gldt-", "hf_", "npm_", "pypi-", "dapi", "glsa_", "gsk_", "r8_", "lin_api_", "_v1_",
    "shp", "sk-", "_live_", "_test_", "whsec_", "xox", "xapp-", "aiza", "gocspx-", "ya29.",
    "hvs.", "hvb.", "hvr.", "sg.", "age-secret", ":aa", "eyj",
)
# fmt: on
_TOKENS = re.compile(
    r"(?<![A-Za-z0-9_-])(?:"
    r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{12,}"  # AWS
    r"|(?:gh[pousr]_|github_pat_|glpat-|glrt-|gldt-|hf_|npm_|pypi-|dapi|dckr_pat_|glsa_|gsk_|r8_"
    r"|lin_api_|do[opr]_v1_|shp[a-z]{2}_)"
    r"[A-Za-z0-9_-]{16,}"
    # of language models, of payments
    r"|sk-[A-Za-z0-9_-]{12,}|[srp]k_(?:live|test)_[A-Za-z0-9]{8,}|whsec_[A-Za-z0-9+/=]{16,}"
    r"|xox[a-z]-[A-Za-z0-9-]{8,}|xapp-[A-Za-z0-9-]{8,}|AIza[A-Za-z0-9_-]{30,}|GOCSPX-"
    r"[A-Za-z0-9_-]{16,}|ya29\.[A-Za-z0-9_-]{16,}"
    r"|hv[sbr]\.[A-Za-z0-9_-]{16,}|SG\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}|AGE-SECRET-KEY-"
    r"[A-Z0-9]{16,}|\d{8,10}:AA[A-Za-z0-9_-]{30,}"
    r"|eyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)?"  # JSON web tokens
    r")"
)
_WEBHOOK = re.compile(r"(hooks\.slack\.com/[a-z]{1,12}/|discord(?:app)?\.com/api/webhooks/)[\w/-]+")
_SCHEME = re.compile(
    r"(?<!\w)(Bearer[ \t]{1,8}|Authorization[\"']?[ \t]{0,8}[:=,][ \t]{0,8}[\"']?\w{1,16}"
    r"[ \t]{1,8})[\w.~+/=-]{8,}",
    re.I,
)
#: Characters of base64, enough for a key. `_is_random` tells a key by the order of its characters.
MIN_KEY_LENGTH = 32
_RUN = re.compile(
    rf"(?<![A-Za-z0-9+/_.-])[A-Za-z0-9+/_-]{{{MIN_KEY_LENGTH},}}={{0,2}}(?![A-Za-z0-9+/_.-])"
)
_LOGIN = re.compile(r"(?<![\w-])((?:-u|--user)[ \t=]{1,4}[\"']?[^\s:\"']{1,64}:)[^\s\"']+")


def mask_shapes(text: str) -> str:
    """Replace secrets that are known by their shape."""
    lower = text.lower()
    if "-----begin" in lower:
        text = _PRIVATE_KEY.sub(rf"\1{MASKED}\2", text)
    if any(beginning in lower for beginning in TOKEN_BEGINNINGS):
        text = _TOKENS.sub(MASKED, text)
    if "hook" in lower:
        text = _WEBHOOK.sub(rf"\1{MASKED}", text)
    if "bearer" in lower or "authorization" in lower:
        text = _SCHEME.sub(rf"\1{MASKED}", text)
    if "-u" in text:
        text = _LOGIN.sub(rf"\1{MASKED}", text)
    if len(text) < MIN_KEY_LENGTH:
        return text
    return _RUN.sub(lambda found: MASKED if _is_random(found[0]) else found[0], text)


def _is_random(run: str) -> bool:
    """Return True where characters follow each other as in no word, path, or digest."""
    kinds = list(map(_kind_of, run[:256]))
    turns = sum(one != other for one, other in pairwise(kinds))
    mixed = min(kinds.count("u"), kinds.count("l")) >= 2 and "d" in kinds
    separated = kinds.count("/") > 3 or kinds.count("-") + kinds.count("_") > 4
    has_words = "lllll" in "".join(kinds)
    return mixed and not separated and turns > (0.45 if has_words else 0.3) * len(kinds)


def _kind_of(sign: str) -> str:
    if sign.isdigit():
        return "d"
    if sign.isupper():
        return "u"
    if sign.islower():
        return "l"
    return sign
