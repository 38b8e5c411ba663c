"""Settings: what holds for a launch, and who said so."""
