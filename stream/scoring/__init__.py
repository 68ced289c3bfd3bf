"""From records to decisions: decode, score and encode; and the facts that a worker emits."""
