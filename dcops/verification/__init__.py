"""Suites of checks against a twin, run by pytest."""
