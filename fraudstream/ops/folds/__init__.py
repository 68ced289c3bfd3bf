"""Folds over topics: what reads records on and on into a state, beside others in one process."""
