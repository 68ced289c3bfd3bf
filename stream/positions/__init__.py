"""Where decisions end, and what was refused: offsets, the ends of scores, commits' copies, dead letters."""
