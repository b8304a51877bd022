"""Files to frames, and frames to files."""
