"""PostgreSQL: servers, dumps, restores."""
