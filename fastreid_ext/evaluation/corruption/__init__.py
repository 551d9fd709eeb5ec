"""-C evaluation: measure the parts, put them together, compare them with others."""
