"""Timers from the configuration."""
