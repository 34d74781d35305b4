"""What things cost: ``python -m benchmarks``. Never a timed test; only ratios of one run travel between computers."""
