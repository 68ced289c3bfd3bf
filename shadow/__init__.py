"""Shadow scoring: a challenger in a process of its own scores the live model's transactions; decisions never wait."""

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)  # a project's folder of this name is searched too, after ours
