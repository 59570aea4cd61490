"""The door for programs: HTTP on a socket that systemd hands over. No rules of its own."""
