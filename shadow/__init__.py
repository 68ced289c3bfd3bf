"""Shadow scoring: a challenger in a process of its own scores the live model's transactions; decisions never wait."""
