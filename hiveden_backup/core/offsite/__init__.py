"""Offsite copies: what lies there is called, what says that it is whole, what is known of it here."""
