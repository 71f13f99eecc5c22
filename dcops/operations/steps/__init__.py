"""What each step of a plan does, and how it is undone."""
