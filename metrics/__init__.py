"""Measures of fraud detection: ranking, alerts, money, drift, calibration, and how sure each of them is."""

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)  # a project's folder of this name is searched too, after ours
