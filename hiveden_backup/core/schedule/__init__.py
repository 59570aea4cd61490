"""Schedules: expressions, cron, clocks that jump, and the units made of them."""
