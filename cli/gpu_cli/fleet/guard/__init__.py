"""The background process that ends what would otherwise be forgotten."""
