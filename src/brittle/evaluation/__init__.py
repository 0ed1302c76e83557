"""One number: from a cell to its result."""
