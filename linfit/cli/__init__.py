"""The command line."""

from linfit.cli.commands import EXIT_INTERRUPTED as EXIT_INTERRUPTED
from linfit.cli.commands import EXIT_TERMINATED as EXIT_TERMINATED
from linfit.cli.commands import cli as cli
from linfit.cli.commands import main as main
