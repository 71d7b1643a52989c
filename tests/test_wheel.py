"""Tests of what is built.

A wheel that runs in an empty environment, a source package with its tests, a page whose links lead
somewhere.
"""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from email import message_from_bytes
from pathlib import Path

import numpy
import pytest
from markdown_it import MarkdownIt

from hatch_build import describe, is_relative

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a wheel, and with the source package that it was made of."""
    folder = tmp_path_factory.mktemp("built")
    _call(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT))
    return folder


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the `linfit` of an environment that has the wheel, but not this checkout.

    The wheel's dependencies are those that are installed here.
    """
    [wheel] = built.glob("linfit_lab-*.whl")
    environment = tmp_path_factory.mktemp("wheel") / "environment"
    venv.create(environment, with_pip=False)
    places = sysconfig.get_paths(
        "venv", vars={"base": str(environment), "platbase": str(environment)}
    )
    scripts, site = Path(places["scripts"]), Path(places["purelib"])
    python = scripts / "python"
    _call(
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        str(wheel),
    )
    # Its path files are not read there: what is installed from this checkout stays out of sight.
    (site / "dependencies.pth").write_text(f"{Path(numpy.__file__).parents[1]}\n")
    return scripts / "linfit"


def _call(*command: str, cwd: Path | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_wheel_runs_a_shipped_experiment_and_a_sweep(installed: Path, workdir: Path) -> None:
    assert str(ROOT) not in _call(
        str(installed.with_name("python")), "-c", "import linfit; print(linfit.__file__)"
    )
    fit = _call(str(installed), "run", "article/linear_adam", cwd=workdir)
    assert "linear_adam: completed after 1001 updates" in fit
    sweep = _call(str(installed), "run", "-m", "optimizer=adam,sgd", "steps=20", cwd=workdir)
    assert "2 fits: 2 completed" in sweep


@pytest.mark.slow
def test_the_wheel_finds_the_users_own_files_first(installed: Path, workdir: Path) -> None:
    (workdir / "experiments").mkdir()
    (workdir / "experiments" / "mine.yaml").write_text(
        "# @package _global_\n# Mine\ndefaults: [/linfit, _self_]\nsteps: 3\n"
    )
    listed = _call(str(installed), "list", "experiments", cwd=workdir)
    assert "mine" in listed
    assert "article/linear_adam" in listed
    assert "steps: 3" in _call(str(installed), "run", "mine", "--cfg", "job", cwd=workdir)


USE = """
import linfit

config = linfit.compose(["steps=3"])
reveal_type(linfit.fit(config).status)
config.steps = "three"
"""


@pytest.mark.slow
def test_mypy_sees_the_types_of_the_wheel(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "use.py").write_text(USE)
    # What linfit itself imports is left out: torch alone costs a minute.
    (tmp_path / "mypy.ini").write_text(
        "[mypy]\nstrict = True\nfollow_imports = skip\n[mypy-linfit.*]\nfollow_imports = normal\n"
    )
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--python-executable",
        str(installed.with_name("python")),
        "use.py",
    ]
    checked = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert 'Revealed type is "linfit.engine.fit.Status"' in checked.stdout, checked.stdout
    assert "untyped" not in checked.stdout and "Incompatible types in assignment" in checked.stdout


@pytest.mark.slow
def test_the_source_package_has_every_file(built: Path) -> None:
    [archive] = built.glob("linfit_lab-*.tar.gz")
    with tarfile.open(archive) as opened:
        packed = {name.partition("/")[2] for name in opened.getnames()}
    if not (ROOT / ".git").exists():
        pytest.skip("no checkout: git knows which files there are")
    tracked = set(_call("git", "-C", str(ROOT), "ls-files", "-z").split("\0")) - {""}
    assert {
        "tests/stores/v1.tar.xz",
        "tests/data/article.csv",
        "Makefile",
        ".ci/run",
        "hatch_build.py",
    } <= tracked
    assert sorted(tracked - packed) == []
    assert not [
        name
        for name in packed
        if name.startswith((".venv/", "outputs/sweeps", "dist/")) or "__pycache__" in name
    ]


# ---- the page ----


@pytest.mark.slow
def test_the_page_has_no_link_that_leads_nowhere(built: Path) -> None:
    [wheel] = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        [name] = [name for name in opened.namelist() if name.endswith(".dist-info/METADATA")]
        page = message_from_bytes(opened.read(name))
    assert (
        page.get_content_type() == "text/plain"
        and page["Description-Content-Type"] == "text/markdown"
    )
    text = page.get_payload(decode=True).decode()  # type: ignore[union-attr]
    assert text == describe(
        (ROOT / "README.md").read_text(encoding="utf-8"),
        PROJECT["tool"]["hatch"]["metadata"]["hooks"]["custom"]["address"],
    )
    assert len(text.splitlines()) > 200
    assert [target for target in targets(text) if is_relative(target)] == []
    addresses = {
        page["Home-page"],
        page["Author-email"],
        page["Maintainer-email"],
        *page.get_all("Project-URL", []),
    }
    assert addresses == {None}  # there is none yet


def targets(markdown: str) -> list[str]:
    """Where the links and pictures of a text lead, as CommonMark has it."""
    inline = [token for token in MarkdownIt().parse(markdown) if token.type == "inline"]
    tokens = [child for token in inline for child in token.children or []]
    return [
        str(token.attrs.get("href") or token.attrs.get("src"))
        for token in tokens
        if token.type in ("link_open", "image")
    ]


HERE = "https://example.org/o/linfit/blob/main/"
#: What README may say, what its page says without an address, and with one.
PAGES = {
    "a link": ("see [a](docs/a.md).", "see a.", f"see [a]({HERE}docs/a.md)."),
    "a place in a page": ("[a](./docs/a.md#b)", "a", f"[a]({HERE}docs/a.md#b)"),
    "a place in this page": ("[a](#b)", "a", f"[a]({HERE}README.md#b)"),
    "a title": ('[a](b.md "c d")', "a", f'[a]({HERE}b.md "c d")'),
    "marks in a link": ("[*a* `b`](c.md)", "*a* `b`", f"[*a* `b`]({HERE}c.md)"),
    "brackets in a link": ("[a [b] c](d.md)", "a [b] c", f"[a [b] c]({HERE}d.md)"),
    "two": ("[a](b.md), [c](d.md)", "a, c", f"[a]({HERE}b.md), [c]({HERE}d.md)"),
    "a picture": (
        "x\n\n![a](b.png)\n\ny",
        "x\n\ny",
        f"x\n\n![a]({HERE.replace('/blob/', '/raw/')}b.png)\n\ny",
    ),
    "a picture that links": (
        "[![a](b.png)](c.md)",
        "",
        f"[![a]({HERE.replace('/blob/', '/raw/')}b.png)]({HERE}c.md)",
    ),
    **{
        f"kept: {text}": (text, text, text)
        for text in (
            "[a](https://example.org/b)",
            "[a](mailto:b@example.org)",
            "![a](https://example.org/b.png)",
            "`[a](b.md)`",
            "``[a](b.md) ` c``",
            "```python\nx[a](b)\n```",
            "~~~\n![a](b.png)\n~~~",
            "a[0] (b) [c]",
        )
    },
}


@pytest.mark.parametrize(("readme", "bare", "linked"), PAGES.values(), ids=PAGES)
def test_links_and_pictures_lead_to_the_address_or_are_left_out(
    readme: str, bare: str, linked: str
) -> None:
    assert describe(readme, "") == bare
    assert describe(readme, HERE) == describe(readme, HERE.rstrip("/")) == linked
    for page in (bare, linked):
        assert [target for target in targets(page) if is_relative(target)] == []


@pytest.mark.parametrize(
    "readme",
    ["[a][b]\n\n[b]: c.md", '<img src="a.png">', "<a class=x href=b.md>c</a>", "[a](b(c).md)"],
)
def test_a_relative_link_of_another_form_is_refused(readme: str) -> None:
    with pytest.raises(ValueError, match="write it as"):
        describe(readme, "")


@pytest.mark.parametrize("address", ["example.org/o", "docs/", "ftp://example.org/o/"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="give https"):
        describe("", address)


WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.skipif(not WORKFLOWS, reason="no workflow is here")
def test_the_classifiers_are_what_the_workflow_tests() -> None:
    text = "".join(file.read_text(encoding="utf-8") for file in WORKFLOWS)
    names = {"ubuntu": "POSIX :: Linux", "macos": "MacOS", "windows": "Microsoft :: Windows"}
    systems = {
        f"Operating System :: {names[found]}"
        for found in re.findall(r"\b(ubuntu|macos|windows)-\d", text)
    }
    pythons = {
        f"Programming Language :: Python :: {found}"
        for found in re.findall(r"[\"'](3\.\d+)[\"']", text)
    }
    claimed = {
        name
        for name in PROJECT["project"]["classifiers"]
        if re.search(r"Operating System|Python :: 3\.", name)
    }
    assert claimed == systems | pythons
