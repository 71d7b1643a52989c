"""Format descriptions in Markdown, as MLflow's UI shows them for runs and experiments.

MLflow renders Markdown and passes some HTML through. Names and questions are anybody's text, and
are shown as text.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import PurePosixPath
from urllib.parse import quote

from linfit.system.host import has_windows_shell, quote_words
from linfit.tracking.secrets.masking import mask

NOTE_TAG = "mlflow.note.content"
#: With this query the UI shows what concerns fits, and nothing of language models.
WORKFLOW_QUERY = "workflowType=machine_learning"
#: Characters that MLflow keeps of a description: of a run, and of an experiment.
MAX_RUN_NOTE = 8000
MAX_EXPERIMENT_NOTE = 5000
#: Separates the texts of several experiment files in one MLflow experiment.
NOTE_RULE = "\n\n---\n\n"
#: Browsers break no line after it, as they would between `1.2e-` and `05`.
NO_BREAK_HYPHEN = "\N{NON-BREAKING HYPHEN}"
_CODE_OR_EXPONENT = re.compile(r"(`+).*?\1|(?<=\de)-(?=\d)", re.DOTALL)
_SIGNS = {ord(sign): f"&#{ord(sign)};" for sign in "&<>|`[]*_\\#~@!{}$"}


def escape_markdown(text: str) -> str:
    """Return text, in one line, escaped for Markdown and HTML."""
    return " ".join(text.split()).translate(_SIGNS)


def keep_numbers_whole(text: str) -> str:
    """Return Markdown with hyphens in numbers that end no line, but for code, which is copied."""
    return _CODE_OR_EXPONENT.sub(lambda found: found[0] if found[1] else NO_BREAK_HYPHEN, text)


def format_code(text: str) -> str:
    """Return text as code between backticks.

    They are more than it has in a row itself.
    """
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if longest else ""
    return f"{fence}{pad}{' '.join(text.split())}{pad}{fence}"


def format_run_command(arguments: Sequence[str]) -> str:
    """Return the command line of a run, without passwords.

    The folder of outputs is left out, because it holds one run only.
    """
    kept = [
        mask(argument)
        for argument in arguments
        if not argument.startswith(("hydra.sweep.dir=", "hydra.run.dir="))
    ]
    return quote_words(["linfit", "run", *kept])


def is_plain_command(text: object) -> bool:
    """Return True for a `linfit run` that shells run verbatim.

    It must not name a class for Hydra to make an object of.
    """
    if not isinstance(text, str) or not text.isprintable():
        return False
    typed = text
    if has_windows_shell():
        typed = text.replace("\\", r"\\")
    try:
        words = shlex.split(typed)
    except ValueError:
        return False
    if words[:2] != ["linfit", "run"] or quote_words(words) != text:
        return False
    return not any(
        "_target_" in word or word.startswith(("hydra.callbacks", "+hydra.")) for word in words
    )


def tag_question(question: str, typed: str) -> dict[str, str]:
    """Return the tag of a run that has begun.

    Empty where nothing was typed.
    """
    if typed:
        return {NOTE_TAG: format_question(question, typed)}
    return {}


def format_question(question: str, typed: str) -> str:
    """Return the description of a run before it has an answer."""
    paragraph = f"Asked by {format_code(typed)}"
    if question:
        return f"**{escape_markdown(question)}**\n\n{paragraph}"
    return paragraph


def join_paragraphs(parts: Sequence[str], most: int = MAX_RUN_NOTE) -> str:
    """Join the paragraphs for which MLflow has room."""
    text = ""
    for part in parts:
        longer = f"{text}\n\n{part}" if text else part
        if part and len(longer) <= most:
            text = longer
    return text


def replace_note_block(note: str, block: str) -> str:
    """Return an MLflow experiment's description with `block` at its top.

    `block` replaces the block that begins with the same line. What somebody wrote by hand is kept
    while there is room.
    """
    head = block.partition("\n")[0]
    text = block[:MAX_EXPERIMENT_NOTE]
    for other in note.split(NOTE_RULE):
        has_room = len(text) + len(NOTE_RULE) + len(other) <= MAX_EXPERIMENT_NOTE
        if other and other.partition("\n")[0] != head and has_room:
            text += NOTE_RULE + other
    return text


def embed_picture(run_id: str, path: str) -> str:
    """Embed a picture of a run in its description."""
    title = escape_markdown(PurePosixPath(path).stem.replace("_", " "))
    return f"![{title}](get-artifact?path={quote(path, safe='')}&run_uuid={run_id})"


def link_run(text: str, experiment_id: str, run_id: str, path: str = "") -> str:
    """Link to a run's page, or its file's, in MLflow's UI."""
    file = f"/artifacts/{quote(path)}" if path else ""
    return f"[{text}](#/experiments/{experiment_id}/runs/{run_id}{file}?{WORKFLOW_QUERY})"
