"""From features to numbers and pictures."""
