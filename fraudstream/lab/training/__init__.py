"""Trains a model on a transactions file and stores its artifact; vectors are computed as in the worker."""
