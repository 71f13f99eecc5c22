"""The suites: one module each, of pytest tests."""
