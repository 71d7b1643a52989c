"""Texts that are masked, and texts that are left as they are, in text, data, errors and stores."""

from __future__ import annotations

import base64
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from linfit.tracking.secrets.masking import mask, mask_data
from linfit.tracking.secrets.secret_names import MASKED, is_secret_name

CANARY = "s3cretcanary"
#: Tokens by their shapes, which nothing needs to name.
SHAPES = (
    "AKIA" + "IOSFODNN7CANARY4",
    "ghp_" + "a1B2" * 9,
    "github_pat_" + "a1B2" * 12,
    "glpat-" + "a1B2" * 5,
    "sk-proj-" + "a1B2" * 9,
    "sk_live_" + "a1B2" * 6,
    "xoxb-" + "1234567890-" * 2 + "a1B2c3",
    "AIza" + "a1B2-" * 7,
    "hf_" + "a1B2" * 8,
    "npm_" + "a1B2" * 9,
    "hvs." + "a1B2" * 6,
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
    "wJalrXUtnFEMI/K7MDENG/bPxRfiCYCANARYKEY4",
    "Zm9vYmFyYmF6cXV4MTIzNDU2Nzg5MGFiY2RlZg==",
)
#: Texts in which the canary is a secret.
SECRETS = (
    f"OPENAI_KEY={CANARY}",
    f"export GITHUB_TOKEN={CANARY} two",
    f"private_key={CANARY}",
    f"aws_secret_access_key = {CANARY}",
    f"DB_PASS={CANARY}",
    f"apiKey: {CANARY}",
    f"x.clientSecret: {CANARY}",
    f"wandb_api_key: {CANARY} # comment",
    f'"password": "{CANARY}", "lr": 1',
    f'{{\\"password\\": \\"{CANARY}\\"}}',
    f"f(password='{CANARY}', lr=3)",
    f'password: str = "{CANARY}"',
    f'password: str | None = r"{CANARY}"',
    f'token = ("{CANARY[:6]}" "{CANARY[6:]}")',
    f"secret = 'a' + '{CANARY}'",
    f'os.environ["X_TOKEN"] = "{CANARY}"',
    f'os.environ.setdefault("API_KEY", "{CANARY}")',
    f'os.getenv("API_KEY", "{CANARY}")',
    f"linfit --api-key={CANARY} x",
    f"linfit --password {CANARY}",
    f'["--token", "{CANARY}"]',
    f"ENV DB_PASSWORD {CANARY}",
    f"set -x API_TOKEN {CANARY}",
    f"<password>{CANARY}</password>",
    f'<add key="DbPassword" value="{CANARY}"/>',
    f"password: |\n  {CANARY}\n  more {CANARY}\nlr: 1",
    f"password: !!str >-\n\n  {CANARY}\n",
    f"credentials:\n  user: me\n  value: {CANARY}\n",
    f"tokens:\n- {CANARY}\n- {CANARY}\nlr: 1",
    f"credentials: {{user: me, value: {CANARY}}}",
    f'{{\n  "password":\n    "{CANARY}"\n}}',
    f'{{\n"password":\n"{CANARY}"\n}}',
    f'"credentials": {{\n  "a": {{\n    "b": "{CANARY}"\n  }},\n  "c": "{CANARY}"\n}}',
    f'password = (\n    "{CANARY}"\n    "{CANARY}"\n)',
    f'password = dict(\n"{CANARY}"\n)',
    f"password=\\\n  {CANARY}\n",
    f'secret = """\n{CANARY}\n\n{CANARY}\n"""',
    f'password: "{CANARY}\n  {CANARY}"\n',
    f"- name: DB_PASSWORD\n  value: {CANARY}",
    f"Authorization: Bearer {CANARY}",
    f'"Authorization": "Basic {CANARY}"',
    f"curl -H 'X-Api-Key: {CANARY}' http://h",
    f"curl -u me:{CANARY} http://h",
    f"the header was Bearer {CANARY}",
    f"cookie: session={CANARY}",
    f"machine h login me password {CANARY}",
    f"machine h\n  login me\n  password {CANARY}\n",
    f"Server=h;Uid=me;Pwd={CANARY};",
    f"DefaultEndpointsProtocol=https;AccountKey={CANARY};EndpointSuffix=x",
    f"http://{CANARY}@host/x",
    f"cannot fetch https://{CANARY}@host:8080/x: refused",
    f"https://{CANARY}:x-oauth-basic@github.com/a",
    f"https://{CANARY}:@host",
    f"redis://:{CANARY}@h:6379/0",
    f"mongodb+srv://me:{CANARY}@h/x?token={CANARY}",
    f"https://h/x?sig={CANARY}&a=1",
    f"https://h/x?X-Amz-Signature={CANARY}",
    f"user:{CANARY}@db.host/x",
    f"localhost:5432:db:me:{CANARY}",
    f"https://hooks.slack.com/services/{CANARY}/b",
    f"-----BEGIN RSA PRIVATE KEY-----\n{CANARY}\n{CANARY}\n-----END RSA PRIVATE KEY-----\nafter",
    f"  -----BEGIN OPENSSH PRIVATE KEY-----\n  {CANARY}\n",
)
#: Texts that say nothing secret.
INNOCENT = (
    "features=[token_count]",
    "dataset.features=[token,password]",
    "dataset.target=token",
    "weights/token_0: 0.25",
    "weight_raw/token=-1.5e-3",
    "{'token': 0.25, 'secret': 1.0, 'weight': 1}",
    "tokens=[1,2,3]",
    "max_tokens: 512",
    "token_count=5000",
    "password_length=8 chars",
    "private_key_path=/home/me/key",
    "optimizer.lr=0.1",
    "metric.key=loss",
    "sort_key: x",
    "primary_key=id",
    "monkey=3",
    "keyboard: us",
    "compass=north",
    "secretary: Ann",
    "tokenizer: bpe",
    "TOKENIZERS_PARALLELISM=false",
    "author: me",
    "password: null",
    "password: ''",
    "password: ${oc.env:P}",
    "tracking.artifacts=ftp://user:${oc.env:PASSWORD}@files.example.org/x",
    "tracking.uri=postgresql://${oc.env:ME}:${oc.env:PASSWORD}@db.example.org/x",
    "password=${DB_PASSWORD}",
    "api_key=$KEY",
    "token = os.environ['TOKEN']",
    "api_key=os.getenv('K')",
    "token == other and token > 0.5",
    "def f(token: str, n: int) -> None:\n    return token",
    "class Token:\n    x = 1",
    "for token in tokens:\n    print(token)",
    "if token:\n    y = 2",
    "features: [x, token_count]\nweights: [1, 2]",
    "password authentication failed for user me",
    "git@github.com:org/repo.git",
    "ssh://git@host/x",
    "https://git@github.com/x",
    "postgresql://me@host/db",
    "https://h/x?page=2#token",
    "sqlite:////a/b.db",
    "sha256: " + "0a1b" * 16,
    "run b9f8e9000003aabbccddeeff00112233 "
    "in /home/User1/Projects/LinFit/outputs/sweeps/2026-11-29_21-56-08-180792",
    "TestThatTheOptimizerConvergesInTwoSteps2",
    "risk-averse and sk-learn",
    "linfit: optimizer: no key 'token': did you mean 'betas'?",
    "x.csv, line 3, column 'password': 'a' is not a finite number",
    "x.csv has no column 'secret': it has y, token",
    "hydra.job.env_set.MY_TOKEN: a value from the environment",
    "1.5e-3 2026-11-29T21:56:08 10:20:30",
)


@pytest.mark.parametrize("text", SECRETS)
def test_secrets_are_masked(text: str) -> None:
    hidden = mask(text)
    assert CANARY[:6] not in hidden and CANARY[6:] not in hidden and MASKED in hidden
    assert mask(hidden) == hidden
    assert len(hidden.splitlines()) == len(text.splitlines()) or "PRIVATE KEY" in text


@pytest.mark.parametrize("token", SHAPES)
def test_tokens_are_known_by_their_shape(token: str) -> None:
    for around in ("{}", "x = '{}'", "it was {}, they say", "a={}&b=2", "[{}]"):
        assert mask(around.format(token)) == around.format(MASKED)


def test_what_is_no_secret_stays() -> None:
    assert [text for text in INNOCENT if mask(text) != text] == []


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("a: 1\npassword: |\n  x1y2\nb: 2\n", "a: 1\npassword: |\n  ***\nb: 2\n"),
        ('{"token": "x", "lr": 1}', '{"token": "***", "lr": 1}'),
        ("url=http://abc@h/p now", "url=http://***@h/p now"),
        ("x = f(\n    password='p',\n    lr=1,\n)", "x = f(\n    password='***',\n    lr=1,\n)"),
        (
            "-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----\nb",
            "-----BEGIN PRIVATE KEY-----***-----END PRIVATE KEY-----\nb",
        ),
    ],
)
def test_what_stands_beside_a_secret_stays(text: str, hidden: str) -> None:
    assert mask(text) == hidden


def test_random_keys_are_known_and_words_are_not() -> None:
    draws = random.Random(0)
    keys = [base64.b64encode(draws.randbytes(30)).decode() for _ in range(500)]
    assert sum(mask(key) != MASKED for key in keys) <= 10
    words = ("Stacked", "Engine", "Linear", "Recorder", "Adam", "Runner", "Schedule", "Fit2")
    texts = ["".join(draws.choices(words, k=8)) for _ in range(500)]
    assert sum(mask(text) != text for text in texts) <= 10


def test_plain_data_are_masked_by_their_names_too() -> None:
    data = {
        "password": CANARY,
        "token": 3,
        "list": [f"token={CANARY}", {"api_key": CANARY, "count": "3"}],
        "token_count": "many",
        1: "x",
    }
    assert mask_data(data) == {
        "password": MASKED,
        "token": 3,
        "list": [f"token={MASKED}", {"api_key": MASKED, "count": "3"}],
        "token_count": "many",
        1: "x",
    }


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        *(
            (name, True)
            for name in (
                "password",
                "DB_PASSWORD",
                "authToken",
                "secretAccessKey",
                "api-keys",
                "PGPASSWORD",
                "key_id_secret",
            )
        ),
        *(
            (name, False)
            for name in (
                "key",
                "keys",
                "token_count",
                "passwordLength",
                "tokenizer",
                "hotkey",
                "public_key",
                "pass_through_id",
            )
        ),
    ],
)
def test_names_say_whether_their_values_are_secret(name: str, secret: bool) -> None:
    assert is_secret_name(name) is secret


@pytest.mark.parametrize(
    "part",
    [
        *(
            "a",
            " ",
            "://",
            "http://a:",
            "a:b@",
            "://a:b@",
            "token=1,",
            "token='",
            'token="\\',
            "token=***",
            "_key=",
            "?token=",
            "eyJ-",
            "sk-",
        ),
        *(
            "-----BEGIN PRIVATE KEY-----",
            "--",
            "--token ",
            'a("token", ',
            "<token>",
            ";PWD={",
            ";pwd=%7B",
            "${",
            "A1b/",
            "Bearer ",
            "-u a:",
        ),
        *(
            "token: str|",
            "token=[1",
            "odbc_connect=",
            "login a ",
            "password a ",
            "http://${",
            "a'token': ",
        ),
    ],
)
def test_nothing_takes_long(part: str) -> None:
    """A line of 200,000 characters takes less than a second: its square would be a minute."""
    text = part * (200_000 // len(part))
    begin = time.process_time()
    mask(text)
    assert time.process_time() - begin < 1


def test_nothing_secret_is_kept_or_said(linfit: Callable[..., Any], workdir: Path) -> None:
    """What was typed, what was set in the environment of a run, and why it failed."""
    (workdir / "part_4712.py").write_text(
        f"raise RuntimeError('no answer from http://{CANARY}@host, api_key={CANARY}')\n",
        encoding="utf-8",
    )
    failed = linfit("run", "steps=2", "plugins=[part_4712]")
    assert (
        failed.code == 2
        and "no answer from http://***@host" in failed.err
        and CANARY not in failed.err
    )
    ran = linfit(
        "run",
        "steps=2",
        f"+hydra.job.env_set.MY_TOKEN={CANARY}",
        f"+hydra.job.env_set.OTHER=http://{CANARY}@h",
    )
    assert ran.code == 0 and CANARY not in ran.out + ran.err
    kept = [file for file in (workdir / "outputs").rglob("*") if file.is_file()]
    assert len(kept) > 5 and [file for file in kept if CANARY.encode() in file.read_bytes()] == []
