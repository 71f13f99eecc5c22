"""One verb, one file, one function."""
