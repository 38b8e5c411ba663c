"""What to run and on what: pure functions of a recipe and offers. Nothing here does I/O."""
