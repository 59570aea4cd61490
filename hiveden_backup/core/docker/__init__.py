"""What is known of containers, and the order in which they stop."""
