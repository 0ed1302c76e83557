"""What components of this kind are built of."""
