"""What a challenger in the shadow would have decided, as a report."""
