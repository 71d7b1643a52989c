"""Test the model of a disk: it knows what may be lost, and finds wrong ways to write a file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.disk import LOSSES, TORN, Disk, prefix_loss, random_loss
from tests.faults.harness import missing
from tests.faults.syscalls import Replay, may_trace, read_calls, strace

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="strace, on Linux")


def test_what_is_not_flushed_may_be_lost_whole_or_in_part() -> None:
    disk = Disk()
    file = disk.make("a")
    disk.write(file, 0, b"x" * 2048)
    assert [disk.state(loss) for loss in LOSSES] == [
        {},
        {"a": b""},
        {},
        {"a": b"x" * 1024},
        {"a": b"x" * 2048},
    ]
    disk.sync(file)
    assert disk.state(LOSSES[0]) == {}, "its name is not flushed with it"
    disk.sync(disk.root)
    disk.write(file, 1024, b"y" * 2048)
    assert disk.state(LOSSES[0]) == {"a": b"x" * 2048}
    assert disk.state(TORN) == {"a": b"x" * 1024 + b"y" * 1024 + b"x" * 0}


def test_names_are_kept_by_their_folder_and_change_in_one_step() -> None:
    disk = Disk()
    disk.make("f", is_folder=True)
    disk.make("f/old")
    disk.rename("f/old", "f/new")
    disk.sync(disk.find("f"))  # type: ignore[arg-type]
    assert disk.state(LOSSES[0]) == {}, "the folder's own name is not flushed"
    disk.sync(disk.root)
    assert disk.state(LOSSES[0]) == {"f": None, "f/new": b""}
    disk.link("f/new", "f/other")
    disk.remove("f/new")
    assert disk.state(LOSSES[0]) == {"f": None, "f/new": b""}
    assert disk.state(LOSSES[-1]) == {"f": None, "f/other": b""}
    seen = {tuple(disk.state(random_loss(seed))) for seed in range(20)}
    assert seen == {("f", "f/new"), ("f", "f/other"), ("f", "f/new", "f/other"), ("f",)}


def test_a_journal_keeps_names_in_their_order() -> None:
    disk = Disk(ordered=True)
    first = disk.make("first")
    disk.make("second")
    disk.make("third")
    seen = {tuple(disk.state(prefix_loss(seed))) for seed in range(20)}
    assert seen == {(), ("first",), ("first", "second"), ("first", "second", "third")}
    disk.sync(first)
    assert len(disk.state(LOSSES[0])) == 3


WRITES = {
    "whole": (
        "from linfit.system.atomic_files import write_atomically\n"
        "with write_atomically(file) as temporary: temporary.write_text('new')",
        set(),
    ),
    "without a folder": (
        "part = Path('part'); part.write_text('new'); flush_file(part); part.replace(file)",
        {"told and lost"},
    ),
    "without a flush": (
        "part = Path('part'); part.write_text('new'); "
        "part.replace(file); flush_folder(file.parent)",
        {"half"},
    ),
    "in place": ("file.write_text('new'); flush_file(file)", {"half"}),
}
PREPARED = (
    "from pathlib import Path\n"
    "from linfit.system.host import flush_folder\n"
    "from linfit.system.atomic_files import flush_file\n"
    "file = Path('file').absolute()\n"
)


@pytest.mark.parametrize(("program", "faults"), WRITES.values(), ids=WRITES)
def test_a_file_is_written_whole_and_for_good(
    program: str, faults: set[str], tmp_path: Path
) -> None:
    """The model finds what is wrong with other ways of writing a file anew."""
    if not may_trace():
        missing("strace may not trace here")
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "file").write_text("old")
    program = f"{PREPARED}{program}\nprint('told')"
    done = subprocess.run(
        [*strace(tmp_path / "calls"), sys.executable, "-c", program],
        cwd=tmp_path / "work",
        check=False,
        timeout=60,
    )
    assert done.returncode == 0
    disk = Disk()
    disk.write(disk.make("file"), 0, b"old")
    for node in (disk.find("file"), disk.root):
        assert node is not None
        disk.sync(node)
    replay, found = Replay(tmp_path / "work", disk), set()
    with (tmp_path / "calls").open(encoding="utf-8") as lines:
        for call in read_calls(iter(lines)):
            replay.apply(call)
            for content in (disk.state(loss)["file"] for loss in LOSSES):
                if content not in (b"old", b"new"):
                    found.add("half")
                elif b"told" in replay.said and content == b"old":
                    found.add("told and lost")
    assert b"told" in replay.said
    assert disk.state(LOSSES[-1])["file"] == b"new"
    assert found == faults
