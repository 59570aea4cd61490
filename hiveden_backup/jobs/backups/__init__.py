"""What lies in the backup directory: list, verify, prune, status."""
