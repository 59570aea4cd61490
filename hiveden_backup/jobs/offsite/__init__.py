"""Copies of backups elsewhere: what is sent, what is there, and how it stands."""
