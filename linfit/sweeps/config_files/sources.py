"""Loading of config files as in Hydra, also of files that begin with a byte order mark."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from omegaconf import DictConfig, OmegaConf

from linfit.errors import ConfigError
from linfit.sweeps.config_files.yaml_files import build_yaml_loader

#: Characters of a file in which Hydra looks for its header.
MAX_HEADER = 512


class YamlFileSource(FileConfigSource):
    """A folder of YAML files.

    A header counts behind a byte order mark too, which editors on Windows write.
    """

    def load_config(self, config_path: str) -> ConfigResult:
        """Load a file; ConfigError names it if it is broken."""
        file = Path(self.path, self._normalize_file_name(config_path))
        if not file.exists():
            raise ConfigLoadError(f"Config not found : {file}")
        try:
            return ConfigResult(
                provider=self.provider,
                path=f"file://{self.path}",
                config=read_yaml_file(file),
                header=read_package_header(file),
            )
        except UnicodeDecodeError:
            raise  # `explain_composition` finds the file by the bytes of this error
        except ValueError as error:
            raise ConfigError(f"{file}: {error}: mend it there") from error
        except RecursionError as error:
            raise ConfigError(
                f"{file}: an alias (*) stands within its own anchor (&): write out what it means"
            ) from error


class YamlFileRepository(ConfigRepository):
    """Hydra's repository with our source of files."""

    def initialize_sources(self, config_search_path: ConfigSearchPath) -> None:
        """Replace the sources that read files by ours."""
        super().initialize_sources(config_search_path)
        self.sources = list(map(_own, self.sources))


class YamlFileLoader(ConfigLoaderImpl):
    """Hydra's loader with our repository."""

    def __init__(self, config_search_path: ConfigSearchPath) -> None:
        super().__init__(config_search_path)
        self.repository = YamlFileRepository(config_search_path)

    def load_configuration(self, *arguments: Any, **options: Any) -> DictConfig:
        """Compose, with references to the environment as plain text in `override_dirname`.

        It names folders, where no value from the environment may appear.
        """
        composed = super().load_configuration(*arguments, **options)
        name = str(composed.hydra.job._get_node("override_dirname")._value())
        composed.hydra.job.override_dirname = re.sub(r"\$\{(oc\.env:[^${}]*)\}", r"\1", name)
        return composed


def read_yaml_file(file: Path) -> Any:
    """Return the keys and values of a YAML file.

    OSError if it holds something else.
    """
    with file.open(encoding="utf-8-sig") as opened:
        data = yaml.load(opened, build_yaml_loader())
    if data is not None and not isinstance(data, list | dict | str):
        raise OSError(0, f"it holds {data!r} instead of keys and values", str(file))
    return OmegaConf.create({} if data is None else data)


def read_package_header(file: Path) -> dict[str, str | None]:
    """Return a YAML file's `# @package` header, read as in Hydra.

    The result is the content of that header.
    """
    with file.open(encoding="utf-8-sig") as text:
        return FileConfigSource._get_header_dict(text.read(MAX_HEADER))


def _own(source: ConfigSource) -> ConfigSource:
    """Return our source for a folder of files; any other source, and Hydra's own, unchanged."""
    if source.scheme() == "file":
        return YamlFileSource(source.provider, source.path)
    if source.scheme() == "pkg" and source.provider != "hydra" and source.available():
        return YamlFileSource(source.provider, str(files(source.path)))
    return source
