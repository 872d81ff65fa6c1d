"""Served models for where they run: one bundle of files for each target, made from the same version."""
