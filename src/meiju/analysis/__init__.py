"""What each part of a run is worth: ablations, the quality of pseudo-labels, and what attention heads do."""
