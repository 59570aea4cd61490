"""Remote places: rclone brings bytes there and back, age makes and reads what lies there."""
