"""The verdict on a challenger: what its decisions would have cost, and whether it may be promoted."""
