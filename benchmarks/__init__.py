"""Compare the histories in Redis with two other designs. Only a checkout has this package; the wheel does not."""
