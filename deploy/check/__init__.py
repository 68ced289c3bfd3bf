"""`make compose-check`: starts the stack of compose.yaml, checks it, kills a worker, and removes it; see `__main__`."""
