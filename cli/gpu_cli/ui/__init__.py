"""What people and scripts see; the only place that prints."""
