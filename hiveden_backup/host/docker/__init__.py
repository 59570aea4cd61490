"""Docker's Engine."""
