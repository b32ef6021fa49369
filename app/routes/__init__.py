"""The HTTP contract, one module for each part of it."""
