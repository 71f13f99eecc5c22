"""A server that speaks the Messages API and streams what a script says."""
