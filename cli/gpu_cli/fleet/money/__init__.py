"""What is spent, and what caps it."""
