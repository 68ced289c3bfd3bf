"""The worker's side of the shadow: what the challenger is asked, in its own process, and what is reported of it."""
