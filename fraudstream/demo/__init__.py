"""The demo: the main job on simulated cards, on one machine, without Docker or Java; begin at `run`."""
