"""What can be rented now, what starts are expected to be like, and the plan that follows."""
