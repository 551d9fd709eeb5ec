"""DAPG in miniature: recipes, and the comparison of their results."""
