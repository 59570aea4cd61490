"""Restores: files, databases, in place, and undo."""
