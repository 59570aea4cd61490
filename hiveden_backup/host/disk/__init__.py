"""The disk: the backup directory, trees, archives, mounts and swaps."""
