"""The challenger's own lane: it scores what the live model scores, and is never waited for."""
