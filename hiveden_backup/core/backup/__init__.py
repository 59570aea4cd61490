"""A backup's files: every name and format, and what follows from them."""
