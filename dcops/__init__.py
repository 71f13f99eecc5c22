"""dcops: deployment and operations for a streaming Claude agent."""

__version__ = "0.1.0"
