"""What members learn from, the training loop, the list of members, and the workers that train them."""
