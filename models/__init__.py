"""Model artifacts, their scores and decisions, and which model is live."""

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)  # a project's folder of this name is searched too, after ours
