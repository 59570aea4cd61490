"""What a killed run or restore left, brought to its end."""
