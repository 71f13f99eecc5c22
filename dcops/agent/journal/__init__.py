"""What was done, in one SQLite file: its tables, its records, and the journal over them."""
