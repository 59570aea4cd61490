"""One file per thing a person asks for."""
