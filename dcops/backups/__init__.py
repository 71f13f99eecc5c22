"""The only reader and writer of backup repositories."""
