"""Experiments, one a file: get_config() returns an ml_collections.ConfigDict. Pure data."""
