"""What a firmware image holds for management mode, as a report."""
