"""Serve or call, rent or buy: what the same tokens cost each way."""
