"""What running engines say of themselves: read, and put into figures that a person can judge."""
