"""What sets an installation up and changes its configuration."""
