"""Draw: reference sets of the untouched model, and all images of each person."""
