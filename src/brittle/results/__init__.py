"""Results after a run: stored, read again, compared."""
