"""Methods without labels of the target, in miniature, on rendered persons."""
