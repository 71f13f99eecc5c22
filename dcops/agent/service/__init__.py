"""The agent over HTTP: sessions, turns, event streams, roles and health."""
