"""Break linfit in more than forty places, one at a time, and report which of them the tests notice.

`python -m tests.mutations` runs all rows of the table, `--only N` one of them.
`--tests-from FOLDER` takes the tests of another checkout, to compare two states of the tests.
Every row changes a temporary copy, never the checkout.
"""

from __future__ import annotations

import argparse
import compileall
import importlib
import os
import py_compile
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import get_all_start_methods, get_context
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
#: Seconds after which a row counts as noticed: its tests hang.
PATIENCE = 900
#: The exit code of pytest where all tests passed.
PASSED = 0
#: Imported once for all rows.
SLOW_IMPORTS = ("torch", "mlflow", "pandas", "pyarrow.parquet", "sklearn.datasets")
#: Stands for one dotted name in the texts of a row, so that renames do not concern the row.
NAME = "§"


class NotFoundError(ValueError):
    """Raised for a row whose text does not occur exactly once in its file."""


@dataclass(frozen=True)
class Mutation:
    """One fault: in `file`, below linfit/, `old` becomes `new`; `tests`, below tests/, notice.

    `§` stands for any dotted name, in `new` for the names that `old` has found, in their order.
    A space of `old` matches any white space, none included. The tests run in the order given:
    first the one that tells most, as `file::test` where its file takes long.
    """

    file: str
    old: str
    new: str
    tests: str

    @property
    def pattern(self) -> re.Pattern[str]:
        pieces = [re.escape(piece) for piece in self.old.split()]
        return re.compile(r"\s*".join(pieces).replace(re.escape(NAME), r"([A-Za-z_][\w.]*)"))

    def apply(self, text: str) -> str:
        """Return the text with the fault; NotFoundError if the row does not say one place."""
        places = list(self.pattern.finditer(text))
        if len(places) != 1:
            raise NotFoundError(
                f"{self.file}: {self.old!r} occurs {len(places)} times: it has to once"
            )

        names = iter(places[0].groups())
        faulty = re.sub(NAME, lambda _: next(names), self.new)
        return text[: places[0].start()] + faulty + text[places[0].end() :]

    @property
    def test_files(self) -> list[str]:
        return list(dict.fromkeys(name.partition("::")[0] for name in self.test_names))

    @property
    def test_names(self) -> list[str]:
        return [f"tests/{name}" for name in self.tests.split()]


#: The table, by package.
MUTATIONS = (
    # problem
    Mutation(
        "problem/losses/squares.py",
        "return 2 / self.count_terms(§)",
        "return 1 / self.count_terms(§)",
        "problem/test_losses.py method/test_gradients.py",
    ),
    Mutation("problem/split.py", "- round(§ * §)", "- int(§ * §)", "problem/test_split.py"),
    Mutation(
        "problem/theory/optimum.py",
        "= 2 * § * np.square(np.linalg.svd(",
        "= 1 * § * np.square(np.linalg.svd(",
        "problem/theory/test_optimum.py",
    ),
    Mutation(
        "problem/theory/optimum.py",
        "and §[-2] * §[-1] <= §",
        "and §[-2] * §[-1] < 0",
        "problem/theory/test_accuracy.py problem/theory/test_optimum.py",
    ),
    Mutation(
        "problem/theory/huber.py",
        "- § + 0.5 * §)",
        "- § + 0.4 * §)",
        "problem/theory/test_huber.py",
    ),
    Mutation(
        "problem/theory/sufficient_statistics.py",
        ":] - §.T",
        ":] + §.T",
        "problem/theory/test_sufficient_statistics.py",
    ),
    Mutation(
        "problem/datasets/prepare.py",
        "return math.sqrt(§(",
        "return float(§(",
        "problem/test_losses.py problem/theory/test_sufficient_statistics.py "
        "engine/test_weights.py",
    ),
    Mutation(
        "problem/datasets/synthetic.py",
        "return § + §.noise * §.",
        "return § + 2 * §.noise * §.",
        "problem/datasets/test_datasets.py test_fingerprint.py engine/test_single.py",
    ),
    # readers
    Mutation(
        "problem/datasets/readers/tables.py",
        "§ = §.line_num + 1",
        "§ = §.line_num + 2",
        "problem/datasets/test_files.py problem/datasets/readers/test_tables.py",
    ),
    Mutation(
        "problem/datasets/readers/validation.py",
        "(np.abs(§) > §,",
        "(np.abs(§) > 1e9 * §,",
        "test_own_data.py problem/datasets/readers/test_tables.py",
    ),
    Mutation(
        "problem/datasets/readers/npy.py",
        "if § > (§ :=",
        "if 0 * § > (§ :=",
        "problem/datasets/readers/test_bombs.py"
        "::test_an_archive_that_unpacks_to_far_more_is_refused "
        "problem/datasets/readers/test_bombs.py",
    ),
    Mutation(
        "problem/datasets/readers/parquet_pages.py",
        "if § != §.num_values:",
        "if False and § != §.num_values:",
        "problem/datasets/readers/test_bombs.py problem/datasets/readers/test_tables.py",
    ),
    Mutation(
        "problem/datasets/arrays.py",
        "§.ndim != 2 or",
        "§.ndim != 2 and",
        "tracking/read/test_data_access.py",
    ),
    # method
    Mutation(
        "method/gradients/finite_difference.py",
        "§[:, §] -= §",
        "§[:, §] -= 0 * §",
        "method/test_gradients.py",
    ),
    Mutation(
        "method/gradients/penalized.py",
        "+ 0.5 * § * §.square().sum()",
        "+ 1.0 * § * §.square().sum()",
        "problem/test_penalties.py",
    ),
    Mutation(
        "method/optimizers/adam.py",
        "np.sqrt(1 - §(",
        "np.square(1 - §(",
        "engine/stacked/test_run.py::test_one_step_from_any_state_of_the_single_engine_agrees "
        "engine/stacked/test_run.py",
    ),
    Mutation(
        "method/linear_steps.py",
        "2 * (1 + §) / (1 + 2",
        "2 * (1 - §) / (1 + 2",
        "method/test_optimizers.py sweeps/preflight/test_stability.py",
    ),
    Mutation(
        "method/optimizers/adaptive.py",
        "1, 1, 1) - 1",
        "1, 1, 1) - 0",
        "engine/stacked/test_run.py::test_one_step_from_any_state_of_the_single_engine_agrees "
        "engine/stacked/test_run.py",
    ),
    Mutation(
        "method/optimizers/adaptive.py",
        ".addcmul(§, §, value=-1)",
        ".addcmul(§, §, value=1)",
        "engine/stacked/test_run.py::test_one_step_from_any_state_of_the_single_engine_agrees "
        "engine/stacked/test_run.py",
    ),
    Mutation(
        "method/schedules.py",
        "(1 + math.cos(",
        "(1 - math.cos(",
        "engine/stacked/test_batches.py::test_the_learning_rate_is_that_of_torchs_scheduler "
        "engine/stacked/test_batches.py",
    ),
    Mutation(
        "method/solvers/accelerated.py",
        "4 / (3 * § + §)",
        "4 / (3 * § - §)",
        "method/test_accelerated.py",
    ),
    Mutation(
        "method/batches.py", "/ max(1, § - 1)", "/ max(1, §)", "engine/stacked/test_batches.py"
    ),
    # scripts
    Mutation("problem/losses/squares.py", '"2 / residual.', '"1 / residual.', "test_script.py"),
    # engine: single
    Mutation(
        "engine/single.py",
        "return not § <= §",
        "return § > §",
        "engine/test_single.py::test_a_start_at_nan_or_infinity_has_diverged_before_the_first_step "
        "engine/test_stopping.py "
        "engine/test_extremes.py",
    ),
    Mutation("engine/stopping.py", "§ + 2 * § +", "§ - 2 * § +", "engine/test_stopping.py"),
    # engine: stacked
    Mutation(
        "engine/stacked/trace.py",
        "& ~(§ <= §[§])",
        "& (§ > §[§])",
        "engine/stacked/test_run.py::test_divergence_is_found_at_its_step_and_recorded_last "
        "engine/test_stopping.py "
        "engine/test_extremes.py",
    ),
    Mutation(
        "engine/stacked/trace.py",
        "§[§] = § + §[§][",
        "§[§] = 1 + § + §[§][",
        "engine/stacked/test_run.py::"
        "test_the_end_and_the_step_of_tolerance_agree_where_the_method_contracts "
        "engine/test_stopping.py",
    ),
    Mutation(
        "engine/stacked/panels.py",
        "(share * part for",
        "(part for",
        "engine/stacked/test_panels.py::test_panels_agree_with_the_single_engine",
    ),
    Mutation(
        "engine/stacked/self_test.py",
        "not (same and torch.equal(§, §[§]))",
        "not (same or torch.equal(§, §[§]))",
        "engine/stacked/test_panels.py::"
        "test_the_test_finds_products_that_depend_on_their_neighbours",
    ),
    Mutation(
        "engine/prediction/linear_iteration.py",
        "§, 1 + §)",
        "§, 2 + §)",
        "engine/prediction/test_predict.py",
    ),
    Mutation(
        "engine/prediction/predict.py", "/ (2 - §", "/ (2 + §", "engine/prediction/test_predict.py"
    ),
    Mutation(
        "engine/caller_settings.py",
        "if §() != §:",
        "if False and §() != §:",
        "engine/test_caller_settings.py",
    ),
    # config
    Mutation(
        "problem/objectives.py",
        ".startswith(HELD_OUT_PREFIX) and not §:",
        ".startswith(HELD_OUT_PREFIX) and § is None:",
        "test_config.py",
    ),
    # sweeps: compose
    Mutation(
        "sweeps/search_space/axes.py",
        "+ u * (math.log(§) -",
        "+ u * (math.log(§) +",
        "sweeps/search_space/test_sweeper.py",
    ),
    Mutation(
        "sweeps/compose/fast_path.py",
        'return "${" not in § and',
        "return",
        "sweeps/compose/test_expansion.py",
    ),
    Mutation(
        "sweeps/config_files/overrides.py",
        ".count(§) > 1]",
        ".count(§) > 2]",
        "sweeps/compose/test_request.py sweeps/compose/test_compose.py",
    ),
    # sweeps: run
    Mutation(
        "sweeps/executors/processes.py",
        "if len(§) > 1 and § < §:",
        "if len(§) > 2 and § < §:",
        "sweeps/executors/test_processes.py::test_only_the_fit_that_kills_its_worker_fails",
    ),
    Mutation(
        "sweeps/preflight/stability.py",
        "if § > §:",
        "if § > 2 * §:",
        "sweeps/preflight/test_stability.py",
    ),
    # sweeps: resume
    Mutation(
        "sweeps/resume/resume.py",
        '== "FAILED") == (',
        '== "FAILED") != (',
        "sweeps/resume/test_resume.py::test_failed_fits_are_run_again_when_asked "
        "sweeps/resume/test_resume.py",
    ),
    Mutation(
        "sweeps/resume/drift.py",
        "if § != §.get(§)}",
        "if § == §.get(§)}",
        "sweeps/resume/test_drift.py",
    ),
    # tracking: write
    Mutation(
        "system/atomic_files.py",
        'with §.open("rb+") as §: try: os.fsync(',
        'with §.open("rb+") as §:\n        try:\n            int(',
        "sweeps/resume/test_find.py",
    ),
    Mutation(
        "tracking/store/retry.py",
        "if not §(§) or",
        "if True or",
        "tracking/write/test_database.py::test_a_lock_is_waited_for tracking/store/test_store.py",
    ),
    Mutation(
        "tracking/write/rows.py",
        "if § != §:",
        "if § == §:",
        "tracking/write/test_database.py::test_any_points_are_kept_as_the_client_keeps_them "
        "tracking/write/test_database.py",
    ),
    Mutation(
        "tracking/tables/parts.py",
        "elif § < §:",
        "elif § > §:",
        "sweeps/resume/test_resume.py::test_an_interrupted_sweep_ends_as_another "
        "sweeps/resume/test_resume.py::test_failed_fits_are_run_again_when_asked",
    ),
    # tracking: masking
    Mutation(
        "tracking/secrets/token_shapes.py",
        "> (0.45 if",
        "> (0.95 if",
        "tracking/secrets/test_masking.py",
    ),
    # tracking: provenance
    Mutation(
        "tracking/provenance/code_digest.py",
        'if § == "body" and',
        'if § == "nothing" and',
        "test_fingerprint.py tracking/provenance/test_environment.py",
    ),
    Mutation(
        "tracking/provenance/git.py",
        '(b"\\r\\n", b"\\n")',
        '(b"\\r\\n", b"\\r\\n")',
        "tracking/provenance/test_environment.py",
    ),
    # tracking: read
    Mutation(
        "tracking/read/sweep_tables.py",
        "and §(§) != §:",
        "and §(§) is §:",
        "test_reproduction.py::test_a_flipped_bit_of_a_table_is_refused_with_its_name "
        "tracking/read/test_config.py "
        "tracking/test_model.py",
    ),
    Mutation(
        "tracking/read/comparison.py",
        "[-1]) <= 1",
        "[-1]) <= 0",
        "test_reproduction.py::test_the_verdict",
    ),
    # reproduction, verification
    Mutation(
        "reproduction.py",
        "is Status.FAILED and §.status != Status.FAILED:",
        "is Status.FAILED and §.status == Status.FAILED:",
        "test_reproduction.py::test_a_repetition_that_fails_says_why_and_is_no_difference "
        "test_reproduction.py",
    ),
    Mutation(
        "engine/difference.py",
        "[§ > §[§]]",
        "[§ < §[§]]",
        "test_verification.py::test_engines_part_where_losses_do test_verification.py",
    ),
    # views
    Mutation(
        "views/analysis/statistics.py",
        ", 0.5 + § / 2)",
        ", 0.5 + § / 4)",
        "views/analysis/test_statistics.py",
    ),
    Mutation(
        "views/analysis/ranking.py",
        "** 2 - §) // 2",
        "** 2 - §) // 1",
        "views/analysis/test_ranking.py",
    ),
    Mutation(
        "views/analysis/comparison.py",
        "§ + 1 if § else 1",
        "§ + 1 if § else 2",
        "views/analysis/test_comparison.py",
    ),
    Mutation(
        "views/ui/guard.py",
        "not in (None, §):",
        'not in (None, §, "null"):',
        "views/ui/test_guard.py",
    ),
    # cli
    Mutation(
        "system/signals.py",
        "return 128 + (",
        "return 127 + (",
        "sweeps/resume/test_drift.py test_cli.py",
    ),
)


@dataclass(frozen=True)
class Result:
    """The outcome of one row: `by` is the test that noticed the fault, or why there is none."""

    mutation: Mutation
    noticed: bool
    by: str
    seconds: float


def copy_checkout(target: Path, tests_from: Path | None) -> None:
    """Copy the files that git knows or would add, perhaps with the tests of another checkout."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)

    if tests_from is not None:
        shutil.rmtree(target / "tests")
        shutil.copytree(tests_from / "tests", target / "tests")

    # Checked by content: a fault may have the size and the second of what it replaces.
    mode = py_compile.PycInvalidationMode.CHECKED_HASH
    compileall.compile_dir(target / "linfit", quiet=2, invalidation_mode=mode)


def has_test(checkout: Path, name: str) -> bool:
    """Return True if the checkout has this file of tests, or this test in it."""
    file, _, test = name.partition("::")
    if not (checkout / file).is_file():
        return False
    return not test or f"def {test}(" in (checkout / file).read_text(encoding="utf-8")


def context() -> Any:
    """Return a way to start processes that have imported already what takes long, if they can."""
    if "fork" not in get_all_start_methods():
        return get_context("spawn")
    for name in SLOW_IMPORTS:
        importlib.import_module(name)
    return get_context("fork")


def call_pytest(checkout: Path, names: Sequence[str], output: Path) -> None:
    """Run tests of the copy in this process, write to `output`, and exit with pytest's code."""
    with output.open("wb") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    os.chdir(checkout)
    os.environ["PYTHONPATH"] = sys.path[0] = str(checkout)
    for name in [name for name in sys.modules if name.partition(".")[0] in ("linfit", "tests")]:
        del sys.modules[name]
    options = ["-x", "--tb=no", "-rfE", "-p", "no:cacheprovider", "--color=no"]
    imported = ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    code = pytest.main([*options, *imported, *names])
    sys.stdout.flush()
    os._exit(int(code))


def run_tests(checkout: Path, names: Sequence[str]) -> tuple[bool, str]:
    """Run tests up to the first that fails; return True and its name, or False and the reason."""
    found = [name for name in names if has_test(checkout, name.partition("[")[0])]
    output = checkout.with_name("output")
    process = context().Process(target=call_pytest, args=(checkout, found, output))
    process.start()
    process.join(PATIENCE)
    if process.exitcode is None:
        process.kill()
        process.join()
        return True, f"more than {PATIENCE} s"

    lines = output.read_text(encoding="utf-8", errors="replace").splitlines()
    named = [line for line in lines if line.startswith(("FAILED ", "ERROR "))]
    if process.exitcode == PASSED:
        return False, "all passed"
    if named:
        return True, named[0].split(" - ")[0]
    raise RuntimeError("pytest has run no test:\n" + "\n".join(lines[-20:]))


def try_mutation(checkout: Path, mutation: Mutation, again: bool) -> Result:
    """Run the tests of a row with its fault in the copy of the checkout, and mend the copy.

    The test that fails is run `again` without the fault: then it has to pass.
    """
    file = checkout / "linfit" / mutation.file
    sound = file.read_text(encoding="utf-8")
    start = time.monotonic()
    file.write_text(mutation.apply(sound), encoding="utf-8")
    try:
        noticed, by = run_tests(checkout, mutation.test_names)
    finally:
        file.write_text(sound, encoding="utf-8")

    name = by.partition(" ")[2]
    if (
        again
        and noticed
        and has_test(checkout, name.partition("[")[0])
        and run_tests(checkout, [name])[0]
    ):
        noticed, by = False, f"fails without the fault too: {name}"
    return Result(mutation, noticed, by, time.monotonic() - start)


def describe(number: int, result: Result) -> str:
    """Return a line of the table."""
    verdict = "noticed    " if result.noticed else "NOT NOTICED"
    fault = f"{result.mutation.file}: {' '.join(result.mutation.old.split())}"
    return f"{number:3} {verdict} {result.seconds:5.0f} s  {fault[:60]:60}  {result.by[:110]}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the rows asked for, print the table and the count; return 1 if one is not noticed."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__)
    parser.add_argument(
        "--tests-from", type=Path, metavar="FOLDER", help="a checkout with other tests"
    )
    parser.add_argument(
        "--only", type=int, nargs="+", metavar="N", help="the numbers of rows, from 1"
    )
    parser.add_argument(
        "--sound", action="store_true", help="run the tests of the rows without a fault"
    )
    parser.add_argument("--quick", action="store_true", help="run no test again without the fault")
    asked = parser.parse_args(arguments)

    numbers = asked.only or range(1, len(MUTATIONS) + 1)
    with tempfile.TemporaryDirectory(prefix="linfit-mutations-") as folder:
        checkout = Path(folder) / "linfit"
        checkout.mkdir()
        copy_checkout(checkout, asked.tests_from)
        if asked.sound:
            files = {file for number in numbers for file in MUTATIONS[number - 1].test_files}
            failed, by = run_tests(checkout, sorted(files))
            print(by)
            return int(failed)

        results = []
        for number in numbers:
            results.append(try_mutation(checkout, MUTATIONS[number - 1], not asked.quick))
            print(describe(number, results[-1]), flush=True)

    noticed = sum(result.noticed for result in results)
    print(f"{noticed} of {len(results)} faults are noticed")
    return int(noticed < len(results))


if __name__ == "__main__":
    sys.exit(main())
