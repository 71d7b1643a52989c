"""Hydra's own compliance suites, with linfit's launcher and sweeper and a foreign task."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hydra import version
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.test_utils.launcher_common_tests import (
    BatchedSweeperTestSuite,
    IntegrationTestSuite,
    LauncherTestSuite,
)

#: Hydra warns so of its own suites, which do not say version_base.
pytestmark = pytest.mark.filterwarnings("ignore:Future Hydra versions:UserWarning")


@pytest.fixture(autouse=True)
def oldest_version_base() -> Iterator[None]:
    """Set the oldest version base, which the suites expect and Hydra assumes by default."""
    before = version.getbase()
    version.VersionBase.instance().setbase(version.__compat_version__)
    yield
    version.VersionBase.instance().version_base = before


def test_hydra_discovers_both() -> None:
    found = {
        (kind, plugin.__name__)
        for kind in (Launcher, Sweeper)
        for plugin in Plugins.instance().discover(kind)
    }
    assert {(Launcher, "LinfitLauncher"), (Sweeper, "LinfitSweeper")} <= found


@pytest.mark.parametrize(
    ("launcher_name", "overrides"),
    [("linfit", []), ("linfit", ["hydra/sweeper=linfit"]), ("basic", ["hydra/sweeper=linfit"])],
)
class TestLauncher(LauncherTestSuite):
    """One job, several, groups, strict mode, resolvers."""


@pytest.mark.parametrize(
    ("launcher_name", "overrides"),
    [
        ("linfit", ["hydra.sweeper.max_batch_size=2"]),
        ("linfit", ["hydra/sweeper=linfit", "hydra.sweeper.max_batch_size=2"]),
    ],
)
class TestBatches(BatchedSweeperTestSuite):
    """Batches of two."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task_launcher_cfg", "extra_flags"),
    [({}, ["-m", "hydra/launcher=linfit", "hydra/sweeper=linfit"])],
)
class TestWholeApps(IntegrationTestSuite):
    """Whole programs, each in a process of its own."""
