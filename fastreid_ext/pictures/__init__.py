"""Building blocks of pictures: colours, axes, tiles of small images, PNG files."""
