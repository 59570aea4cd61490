"""How far a server is heard out, which is not trusted to end."""

ANSWER_SECONDS = 60.0
"""What connecting may take, and each question that needs no long work of the server."""

CHANGE_SECONDS = 900.0
"""What it may take to create, drop or rename a database, for which a busy server with a slow disk writes all it has."""

ANSWER_BYTES = 32 << 20
"""What an answer may have: enough for that of some hundred thousand tables."""

ANSWER_MEMORY = 192 << 20
"""What an answer may add to our memory: rows and their values take several times what is sent."""
