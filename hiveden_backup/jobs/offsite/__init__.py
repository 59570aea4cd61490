"""Copies of backups elsewhere: what is sent, what is there, how it stands, and what is read from there."""
