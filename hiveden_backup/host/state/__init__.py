"""The state directory: ledger, locks and records."""
