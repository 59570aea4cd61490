"""`python -m hiveden_backup`."""

from hiveden_backup.cli.main import main

main()
