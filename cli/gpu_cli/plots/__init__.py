"""Figures as images and in the terminal. The drawing library is imported here only."""
