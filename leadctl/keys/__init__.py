"""Keys: making one, counting what each encrypts, moving everything to the primary one."""
