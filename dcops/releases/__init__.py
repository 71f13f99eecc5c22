"""From an implementation to a release and its build context."""
