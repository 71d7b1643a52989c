"""The config of any run, read back from where it was stored, and refused where it was changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from linfit.config import FitConfig
from linfit.errors import ConfigError, LinfitError
from linfit.tracking.read import config as stored
from linfit.tracking.read import reader as reading
from linfit.tracking.read.access import require_known_place
from linfit.tracking.read.config import read_config
from linfit.tracking.read.reader import RunReader
from linfit.tracking.schema import mlflow_names
from linfit.tracking.schema.config_record import serialize_config
from linfit.tracking.store.store import Store, resolve_store
from tests.helpers import config

Linfit = Callable[..., Any]


def reader() -> RunReader:
    return RunReader(resolve_store(None))


def ran(linfit: Linfit, *arguments: str) -> list[str]:
    """Runs it and returns the ids of its fits."""
    done = linfit("run", "--json", *arguments)
    assert done.code == 0, done.err
    return [row["run_id"] for row in json.loads(done.out)]


def test_a_single_run_has_it_in_a_file(linfit: Linfit, workdir: Path) -> None:
    [run_id] = ran(linfit, "optimizer=sgd", "steps=3", "seed=7")
    found = reader().find_run(run_id).config()
    assert (found.optimizer.name, found.seed, found.engine.name) == ("sgd", 7, "single")
    [file] = workdir.glob("outputs/artifacts/**/config.json")
    file.write_text(file.read_text().replace('"seed": 7', '"seed": 6'))
    with pytest.raises(ConfigError, match=r"config\.json: the config's hash does not fit"):
        reader().find_run(run_id).config()
    file.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"config\.json cannot be read"):
        reader().find_run(run_id).config()
    file.unlink()
    with pytest.raises(LinfitError, match=r"has no file config\.json"):
        reader().find_run(run_id).config()


def test_a_child_has_it_in_a_tag(linfit: Linfit, workdir: Path, client: Any) -> None:
    ids = ran(linfit, "-m", "seed=3,4", "steps=3")
    assert [reader().find_run(run_id).config().seed for run_id in ids] == [3, 4]
    tag = client.get_run(ids[0]).data.tags[mlflow_names.CONFIG]
    client.set_tag(ids[0], mlflow_names.CONFIG, tag.replace('"seed":3', '"seed":5'))
    with pytest.raises(
        ConfigError, match=f"tag linfit.config of run {ids[0]}: the config's hash does not fit"
    ):
        reader().find_run(ids[0]).config()
    with pytest.raises(ConfigError, match="is a sweep, which has no config of its own"):
        reader().find_run("last").config()


def test_a_child_whose_config_is_too_long_for_a_tag_has_it_in_the_manifest(
    linfit: Linfit, workdir: Path, client: Any
) -> None:
    weights = ",".join(f"{i / 7}" for i in range(700))
    given = (
        "dataset=random_linear",
        "dataset.p=700",
        "dataset.n=5",
        "init=given",
        f"init.weights=[{weights}]",
    )
    ids = ran(linfit, "-m", "seed=0,1", "steps=1", *given)
    record = reader().find_run(ids[1])
    assert mlflow_names.CONFIG not in record.tags
    found = record.config()
    assert found.seed == 1
    assert found.fingerprint() == record.tags[mlflow_names.FINGERPRINT]
    for row in ("7", "-1", "x", "1" * 5000):
        client.set_tag(ids[1], mlflow_names.ROW, row)
        with pytest.raises(ConfigError, match=r"manifest\.parquet has no row"):
            reader().find_run(ids[1]).config()


def test_nothing_larger_than_a_config_is_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = serialize_config(config())
    file = tmp_path / "config.json"
    file.write_text(text)
    assert read_config(stored.read_config_text(file)) == config()
    monkeypatch.setattr(stored, "MAX_CONFIG", len(text) - 1)
    with pytest.raises(ConfigError, match="no stored config: "):
        read_config(text)
    with pytest.raises(ConfigError, match="larger than any stored config"):
        stored.read_config_text(file)


def test_plug_ins_are_imported_by_whoever_trusts_them_only() -> None:
    text = serialize_config(FitConfig(plugins=("json",)))
    loaded: list[Sequence[str]] = []
    with pytest.raises(
        ConfigError, match="needs plug-ins, which are not imported from what is stored"
    ):
        read_config(text)
    assert read_config(text, loaded.append).plugins == ("json",)
    assert loaded == [["json"]]


def test_a_file_that_a_server_keeps_is_downloaded_if_it_is_no_larger_than_it_can_be(
    linfit: Linfit, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [run_id] = ran(linfit, "steps=3", "seed=7")
    monkeypatch.setattr(
        reading, "find_local_folder", lambda store, uri: None
    )  # as if a server kept them
    monkeypatch.setattr(reading, "require_known_place", lambda store, uri: None)
    record = reader().find_run(run_id)
    assert record.config().seed == 7
    with pytest.raises(
        LinfitError, match=r"config\.json of run .* is larger than it can be: .* bytes, 9 at most"
    ):
        record.fetch_file("config.json", 9)
    with pytest.raises(LinfitError, match=r"has no file other\.json"):
        record.fetch_file("other.json")


@pytest.mark.parametrize(
    ("uri", "known"),
    [
        ("s3://bucket/x", True),
        ("abfss://files@account.dfs.core.windows.net/x", True),
        ("wasbs://files@account.blob.core.chinacloudapi.cn/x", True),
        ("abfss://files@account.dfs.core.windows.net.stranger.invalid/x", False),
        ("abfss://files@account.stranger.invalid/x", False),
        ("abfss://stranger.invalid/x", False),
    ],
)
def test_only_storage_of_known_machines_is_spoken_to(uri: str, known: bool) -> None:
    with nullcontext() if known else pytest.raises(LinfitError, match="are not fetched"):
        require_known_place(Store("sqlite:///x.db", None), uri)
