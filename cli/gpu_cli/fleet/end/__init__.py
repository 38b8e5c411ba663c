"""What ends a deployment, its end, and what is left over."""
