"""What a relay reports about itself: log, metrics, status, job summary."""
