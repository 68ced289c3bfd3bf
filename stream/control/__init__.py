"""Who is live: the log of commands followed, judged and answered by the fleet."""
