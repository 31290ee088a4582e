"""Synthetic data: pavement for the first run, confusers, light and weather."""
