"""What is to be measured: plans, cells and their identity; nothing here imports torch."""
