"""Long runs with hostile input, which print how far they are: ``make hostile``."""
