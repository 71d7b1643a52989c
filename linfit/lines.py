"""The earlier name of `linfit.script_fragments`, which plug-ins may import."""

from linfit.script_fragments import *  # noqa: F403
