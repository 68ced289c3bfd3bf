"""Two deployments on the same topics: their states, the comparison of their decisions, go or no-go, the hand-over."""
