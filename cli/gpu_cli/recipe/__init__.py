"""Recipes: what to serve, on what, and how long it may live. Their schema, their files, and what is wrong with them."""
