"""What lives: launching, health, what ends it, the guard, and the store that remembers."""
