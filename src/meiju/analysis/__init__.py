"""What each part of a run is worth: its variants beside it, and a plain baseline."""
