"""Whose images are drawn, and from which photographs each is learned."""
