"""The door for people: commands, progress, tables and exit codes. No rules of its own."""
