"""One file a command group: parse, call one operation, render."""
