"""Whether an endpoint behaves as its clients expect, and as its recipe promises."""
