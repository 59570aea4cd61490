"""One file for each command: what is asked for, handed on to the jobs, and the result shown."""
