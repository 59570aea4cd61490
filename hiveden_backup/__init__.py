"""hiveden-backup: one-shot backups of files, Docker volumes and PostgreSQL databases."""

__version__ = "0.1.0"
