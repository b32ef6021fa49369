"""Tests as specifications: one file per module."""
