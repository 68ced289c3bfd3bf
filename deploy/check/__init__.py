"""`make compose-check`: the stack of compose.yaml brought up, used, hurt and taken down; begin at `__main__`."""
