"""Ways in: one file each, found by its name. A dialect is what a client speaks."""
