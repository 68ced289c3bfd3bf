"""Histories of cards, merchants and devices, and the features that are computed from them."""

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)  # a project's folder of this name is searched too, after ours
