"""What became of the cards of an experiment: its arms side by side, how sure the differences are, and who wins."""
