"""Find and read config files and overrides, and explain what is wrong in them."""
