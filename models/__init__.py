"""Networks, ensembles of them, and the store that keeps both. Imports neither app nor training."""
