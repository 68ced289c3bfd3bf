"""The worker's side of the shadow: queue decisions for the challenger's process, write comparisons, report on them."""
