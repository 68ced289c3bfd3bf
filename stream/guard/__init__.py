"""What a guard's process reads: scores, comparisons and outcomes, its checkpoint, and its HTTP pages."""
