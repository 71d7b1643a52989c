"""Search path of linfit's own command line. Other Hydra apps are left alone."""

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin


class LinfitSearchPath(SearchPathPlugin):
    """Search `./conf` and `./experiments` before the configs that linfit ships."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        from linfit.sweeps.config_files.search_path import prepare_search_path

        prepare_search_path(search_path)
