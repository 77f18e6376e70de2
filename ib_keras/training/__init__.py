"""What the library itself trains: batches, schedules, states."""
