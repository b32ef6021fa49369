"""Data, recipes, losses and the distillation itself. Runs without any web or queue library."""
