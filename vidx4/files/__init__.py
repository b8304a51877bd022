"""Open, lock and write files whose names or contents come from others."""
