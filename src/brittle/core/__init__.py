"""What everything stands on; nothing here imports torch."""
