"""Descriptions in Markdown, as MLflow's UI shows them: of a run, and of the MLflow experiment that it stands in.

MLflow renders Markdown and passes some HTML through; names and questions are anybody's text, and are shown as text.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import PurePosixPath
from urllib.parse import quote

from linfit.system import has_windows_shell, quote_words
from linfit.tracking.masking import mask

NOTE = "mlflow.note.content"
#: The UI then shows what is about fits, and nothing about language models.
WORKFLOW = "workflowType=machine_learning"
#: What MLflow keeps of a tag of a run, and of an experiment.
MAX_RUN_NOTE, MAX_EXPERIMENT_NOTE = 8000, 5000
#: Between what several experiment files say in one MLflow experiment.
RULE = "\n\n---\n\n"
_SIGNS = {ord(sign): f"&#{ord(sign)};" for sign in "&<>|`[]*_\\#~@!{}$"}


def literal(text: str) -> str:
    """Text that Markdown, and HTML within it, leaves as it is, in one line."""
    return " ".join(text.split()).translate(_SIGNS)


def code(text: str) -> str:
    """Text as code: its own backticks are fewer than those around it."""
    fence = "`" * (1 + max((len(run) for run in _backticks(text)), default=0))
    pad = " " if "`" in text else ""
    return f"{fence}{pad}{' '.join(text.split())}{pad}{fence}"


def _backticks(text: str) -> list[str]:
    return "".join(sign if sign == "`" else " " for sign in text).split()


def command(arguments: Sequence[str]) -> str:
    """What to type, without passwords; the folder of outputs is left out, because it holds one run only."""
    kept = [
        mask(argument)
        for argument in arguments
        if not argument.startswith(("hydra.sweep.dir=", "hydra.run.dir="))
    ]
    return quote_words(["linfit", "run", *kept])


def is_plain_command(text: object) -> bool:
    """Return True for a `linfit run` that a shell runs word for word, and that names no class for Hydra to make an object of."""
    if not isinstance(text, str) or not text.isprintable():
        return False
    try:
        words = shlex.split(text.replace("\\", r"\\") if has_windows_shell() else text)
    except ValueError:
        return False
    plain = words[:2] == ["linfit", "run"] and quote_words(words) == text
    return plain and not any(
        "_target_" in word or word.startswith(("hydra.callbacks", "+hydra.")) for word in words
    )


def tag(question: str, typed: str) -> dict[str, str]:
    """The tag of a run that has begun; none where nothing was typed."""
    return {NOTE: asked(question, typed)} if typed else {}


def asked(question: str, typed: str) -> str:
    """What a run says before it has an answer."""
    return "\n\n".join(
        [*([f"**{literal(question)}**"] if question else []), f"Asked by {code(typed)}"]
    )


def paragraphs(parts: Sequence[str], most: int = MAX_RUN_NOTE) -> str:
    """As many of the paragraphs as MLflow keeps."""
    text = ""
    for part in parts:
        longer = f"{text}\n\n{part}" if text else part
        if part and len(longer) <= most:
            text = longer
    return text


def replaced(note: str, block: str) -> str:
    """The description of an MLflow experiment with `block` at its top, instead of the block that begins with the same line.

    What somebody wrote there by hand stays, as long as there is room.
    """
    head = block.partition("\n")[0]
    others = [other for other in note.split(RULE) if other and other.partition("\n")[0] != head]
    text = block[:MAX_EXPERIMENT_NOTE]
    for other in others:
        if len(text) + len(RULE) + len(other) <= MAX_EXPERIMENT_NOTE:
            text += RULE + other
    return text


def picture(run_id: str, path: str) -> str:
    """A run's own picture in its description."""
    return f"![{literal(PurePosixPath(path).stem.replace('_', ' '))}](get-artifact?path={quote(path, safe='')}&run_uuid={run_id})"


def link(text: str, experiment_id: str, run_id: str, path: str = "") -> str:
    """To a run's page in MLflow's UI, or to one of its files there."""
    file = f"/artifacts/{quote(path)}" if path else ""
    return f"[{text}](#/experiments/{experiment_id}/runs/{run_id}{file}?{WORKFLOW})"
