"""PostgreSQL's values and rules."""
