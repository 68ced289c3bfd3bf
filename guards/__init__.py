"""Statistics of a canary: first bad events counted per card, tests that may be looked at all the time, the ladder."""

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)  # a project's folder of this name is searched too, after ours
