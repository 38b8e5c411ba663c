"""How fast a deployment is: a load generator is driven, its result read, kept and shown."""
