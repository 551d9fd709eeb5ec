"""How pictures look and reach the disk: colours, axes, tiles of person images, PNG files."""
