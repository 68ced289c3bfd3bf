"""The demo: the main job on simulated cards, on one machine, without Docker or Java.

`script` says what is shown, `running` shows it, `scoreboard` and `checks` say what came of it.
"""
