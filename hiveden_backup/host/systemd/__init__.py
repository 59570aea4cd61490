"""systemd: timers, units, calendar and journal."""
