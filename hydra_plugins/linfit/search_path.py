"""Tells Hydra where linfit's configs are. It acts on linfit's own command line only, not on other Hydra apps."""

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin


class LinfitSearchPath(SearchPathPlugin):
    """Puts `./conf` and `./experiments` before what linfit ships."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        from linfit.sweeps.locations import arrange

        arrange(search_path)
