"""Ask the operating system: processes, signals, streams, files that outlast a power loss."""
