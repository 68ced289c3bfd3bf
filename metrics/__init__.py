"""Measures of fraud detection: ranking, alerts, money, drift, calibration, and how sure each of them is."""
