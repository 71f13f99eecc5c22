"""Lock, journal of operations, history and pointer, over an engine's control store."""
