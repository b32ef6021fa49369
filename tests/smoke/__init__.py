"""Whole-machine checks, run by make targets of their own and not by pytest."""
