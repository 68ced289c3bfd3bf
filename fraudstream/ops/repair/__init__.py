"""What a person examines and repairs: losses, letters, erasures, histories, the control log, keys by partition."""
