"""From a plan to a deployment that is healthy: orders, failures and what follows from them, races."""
